"""`concept-icd baseline`: the systems that a coder is compared with, each by its name."""

from __future__ import annotations

import argparse

EXAMPLE = "concept-icd baseline tfidf-svm --corpus runs/baselines/corpus --out runs/baselines/tfidf-svm"
#: Each baseline parses its options itself.
PASSES_OPTIONS_ON = True

#: Name -> the module whose `main` runs it, the config that it takes unless another is named, and what it is.
BASELINES: dict[str, tuple[str, str | None, str]] = {
    "tfidf-svm": ("concept_icd.baselines.tfidf_svm", None, "words and characters with a linear SVM a code"),
    "lora-classifier": (
        "concept_icd.baselines.lora_classifier",
        None,
        "a causal LM with LoRA and a classification head",
    ),
    "cec": (
        "concept_icd.baselines.cec.__main__",
        None,
        "CEC as its authors released it: one prompt a question, two stages",
    ),
    "plm-icd": ("concept_icd.baselines.ltr_icd.__main__", "plm-icd", "a pretrained encoder with label attention"),
    "ltr-icd": (
        "concept_icd.baselines.ltr_icd.__main__",
        None,
        "label attention and a decoder that writes codes in billing order",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which baseline, corpus, output; everything else goes to the baseline as it stands."""
    about = "; ".join(f"{name}: {what}" for name, (_, _, what) in BASELINES.items())
    parser.add_argument("name", choices=BASELINES, metavar="NAME", help=about)
    parser.add_argument("--corpus", required=True, help="a prepared folder")
    parser.add_argument("--out", required=True, help="folder of the predictions (and of the model, where one is kept)")
    parser.add_argument("--config", help="a shipped config of the baseline, or a YAML file; flags win over it")
    parser.add_argument(
        "--accelerate-config",
        metavar="NAME",
        help="run through `accelerate launch` with a preset (cpu, single_gpu, multi_gpu) or a file of your own",
    )


def run(args: argparse.Namespace) -> int:
    """Trains and predicts, in this process or through accelerate."""
    from concept_icd.tuning.launch import launch

    module, config, _ = BASELINES[args.name]
    config = args.config or config
    options = ["--config", config] if config else []
    options += ["--corpus", args.corpus, "--output_dir", args.out, *args.others]
    return launch(module, options, args.accelerate_config, several_gpus=args.name != "tfidf-svm")
