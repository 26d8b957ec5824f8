"""`concept-icd baseline`: the systems that a coder is compared with, each by its name."""

from __future__ import annotations

import argparse
import textwrap
from typing import NamedTuple

EXAMPLE = "concept-icd baseline tfidf-svm --corpus runs/baselines/corpus --out runs/baselines/tfidf-svm"
#: Each baseline parses its options itself.
PASSES_OPTIONS_ON = True


class Baseline(NamedTuple):
    """How a baseline is run, and what is told of it.

    Attributes:
        module: its `main` runs it. about: what it is. source: where it is described; empty: nowhere, it is common use.
        network: it trains one, with configs and on several GPUs. config: the one that it takes unless another is named.
    """

    module: str
    about: str
    source: str = ""
    network: bool = True
    config: str | None = None


BASELINES = {
    "frequency": Baseline(
        "concept_icd.baselines.frequency", "each code's share of the training notes, for every note", network=False
    ),
    "tfidf-svm": Baseline(
        "concept_icd.baselines.tfidf_svm", "words and characters with a linear SVM a code", network=False
    ),
    "lora-classifier": Baseline(
        "concept_icd.baselines.lora_classifier",
        "the coder's causal LM (--base) with LoRA and a classification head, without concepts",
    ),
    "plm-icd": Baseline(
        "concept_icd.baselines.ltr_icd.__main__",
        "a pre-trained encoder (--base) over segments of 128 tokens, with label attention",
        "Huang et al. 2022, its released script",
        config="plm-icd",
    ),
    "ltr-icd": Baseline(
        "concept_icd.baselines.ltr_icd.__main__",
        "a T5 (--base) with label attention and a decoder that writes codes in billing order",
        "Mansoori et al., arXiv 2510.13922, as we read it",
    ),
    "cec": Baseline(
        "concept_icd.baselines.cec.__main__",
        "two LLMs, one prompt a question: which phrases are in the note, then which codes",
        "Fatemi et al., ML4H 2025, its released code",
    ),
}
#: Where labels, splits and thresholds come from, for all of them.
MANNER = (
    "All learn from the notes of the train split and predict those of the test split, without their codes. The labels "
    "are the corpus's label set, else the codes of the training notes. A threshold is chosen by micro-F1 on the dev "
    "split, or without one on a tenth of the training patients, who are then not learnt from; but frequency and "
    "tfidf-svm choose it on the training notes (tfidf-svm by cross-validation), and cec accepts a code where Yes was "
    "written. OUT/predictions.jsonl is what `concept-icd evaluate` and `compare` read."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which baseline, corpus, output; everything else goes to the baseline as it stands."""
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"{', '.join(BASELINES)}; without a name: lists them")
    parser.add_argument("--corpus", help="a prepared folder")
    parser.add_argument("--out", help="folder of the predictions (and of the model, where one is kept)")
    parser.add_argument("--config", help="a shipped config of the baseline, or a YAML file; flags win over it")
    parser.add_argument(
        "--accelerate-config",
        metavar="NAME",
        help="run through `accelerate launch` with a preset (cpu, single_gpu, multi_gpu) or a file of your own",
    )


def run(args: argparse.Namespace) -> int:
    """Trains and predicts, in this process or through accelerate; without a name, says which there are."""
    from concept_icd.errors import InputError, did_you_mean
    from concept_icd.tuning.launch import launch

    if args.name is None:
        if args.corpus or args.out or args.config or args.others:
            raise InputError(f"name the baseline: {', '.join(BASELINES)}")
        print(listing())
        return 0
    if args.name not in BASELINES:
        meant = did_you_mean(args.name, BASELINES)
        raise InputError(f"there is no baseline {args.name!r}{meant}; there are {', '.join(BASELINES)}")
    for option, what in (("corpus", "the prepared corpus"), ("out", "the folder of the predictions")):
        if not getattr(args, option):
            raise InputError(f"name {what} with --{option}")
    found = BASELINES[args.name]
    if not found.network and (args.config or args.accelerate_config):
        raise InputError(f"{args.name} trains no network: leave --config and --accelerate-config out")
    config = args.config or found.config
    options = ["--config", config] if config else []
    options += ["--corpus", args.corpus, "--output_dir", args.out, *args.others]
    return launch(found.module, options, args.accelerate_config, several_gpus=found.network)


def listing() -> str:
    """The baselines, each with what it is and its source, and what they share."""
    width = max(map(len, BASELINES)) + 2
    lines = [
        f"{name:<{width}}{found.about}{f' ({found.source})' if found.source else ''}"
        for name, found in BASELINES.items()
    ]
    return "\n".join([*lines, "", *textwrap.wrap(MANNER, 120), "", f"example: {EXAMPLE}"])
