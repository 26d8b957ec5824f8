"""`concept-icd evaluate`: scores anybody's predictions against gold codes, beside published rows where they compare.

It reads the files and says what they are; `report.results.evaluate` measures. `concept-icd compare` shares the options
and the reading.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.cli.options import positive
from concept_icd.errors import InputError
from concept_icd.ontology.code_shapes import SHAPES

if TYPE_CHECKING:
    from concept_icd.corpora.mimic3.tasks import Task
    from concept_icd.readers.predictions import Gold, Predictions
    from concept_icd.report.alignment import Matrices
    from concept_icd.report.results import EvaluationInputs

EXAMPLE = "concept-icd evaluate --predictions predictions.jsonl --gold gold.jsonl --out runs/evaluated"
INPUTS = ("predictions", "gold", "threshold_from", "codes", "train_counts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add = parser.add_argument
    add(
        "--predictions",
        required=True,
        metavar="FILE",
        help="JSON lines of `concept-icd code`; a matrix (CSV, Feather, Parquet) with a note's id and a column a code; "
        "CAML's preds_test.psv or pred_100_scores_test.json; Edin's predictions_test.feather; any gzipped",
    )
    add(
        "--gold",
        required=True,
        metavar="FILE",
        help="a prepared corpus; JSON lines with codes; CSV with HADM_ID and LABELS (CAML's test_50.csv); Edin's",
    )
    add("--out", required=True, metavar="FOLDER", help="a new folder for results.json and report.html")
    add("--task", metavar="NAME", help="the benchmark, such as mimic3-50: its label set, and the published rows beside")
    add("--train-stays", type=int, metavar="N", help="how many stays the model was trained on, where no corpus says so")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="accept a code at p >= P (default: the predictions' own accepted flags, else .5)",
    )
    chosen.add_argument(
        "--threshold-from",
        nargs=2,
        metavar=("PREDICTIONS", "GOLD"),
        help="choose the threshold with the best micro-F1 on these, which must be other notes (dev)",
    )
    add(
        "--codes", metavar="FILE", help="the label set, one code a line (default: of the task, of the corpus, else all)"
    )
    add("--only-common", action="store_true", help="leave out notes that are in one file only, and say how many")
    listed = "list the N notes with the most wrong codes: ids, codes, places of passages, no text (default: none)"
    add("--error-notes", type=positive, metavar="N", help=listed)
    add_shared_arguments(parser, title="Evaluation of ICD codes", holds="results.json")


def add_shared_arguments(parser: argparse.ArgumentParser, *, title: str, holds: str) -> None:
    """The options that `evaluate` and `compare` have in common; `holds`: the file that the verb writes."""
    add = parser.add_argument
    add(
        "--split",
        choices=("train", "dev", "test", "all"),
        help="of a prepared corpus (default: test, where it has one)",
    )
    add(
        "--classification",
        choices=sorted(SHAPES),
        help="of the codes of a file (default: icd9cm); a prepared corpus says it itself",
    )
    add(
        "--no-order",
        action="store_true",
        help="the gold lists sets: no figures of the billing order (default: JSON lines and prepared corpora list "
        "codes in billing order, unless several annotators voted on them)",
    )
    add("--train-counts", metavar="CORPUS", help="prepared corpus or gold file: how often each code occurs in training")
    add("--draws", type=int, default=1000, metavar="N", help="most samples for intervals; 0 for none (default 1000)")
    add("--seed", type=int, default=0, help="of the intervals (default 0)")
    add("--title", default=title, help="heading of the page")
    add("--overwrite", action="store_true", help="replace the folder if it exists")
    add("--all", action="store_true", help="print every figure, not the six that one looks at first")
    add("--json", action="store_true", help=f"print what {holds} holds, instead of tables")


def run(args: argparse.Namespace) -> int:
    """Reads, measures, writes and prints."""
    from concept_icd.corpora.mimic3.tasks import TASKS, find_task
    from concept_icd.ontology.tree import load_ontology
    from concept_icd.readers.label_sets import label_titles, read_codes
    from concept_icd.readers.predictions import read_gold, read_predictions
    from concept_icd.report import evaluate, write_report
    from concept_icd.report.alignment import align
    from concept_icd.report.published import published_rows

    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold:g} is no probability; name one between 0 and 1")
    check_shared(args, "evaluate")
    task = find_task(args.task) if args.task else None
    classification = classification_of(args)
    codes = read_codes(args.codes, classification) if args.codes else None
    gold = read_gold(args.gold, codes or (task and task.codes) or (), args.split, classification=classification)
    labels, named = _label_set(args, task, codes, gold)
    predictions = read_predictions(args.predictions, labels or count_codes(gold), gold.classification)
    matrices = align(predictions, gold, labels, args.only_common, named)
    if task and matrices.outside:
        raise InputError(
            f"--task {task.name} has another label set: {len(matrices.outside)} labels of the gold or the predictions "
            f"are not in it, such as {min(matrices.outside)!r}; leave --task out to measure over all of them"
        )
    counts, train_stays = training_counts(args, gold)
    train_stays = args.train_stays or train_stays
    extra: dict[str, Any] = {"coder": dict(predictions.versions)} if predictions.versions else {}
    if told := gold_faults(gold, labels):
        extra["code_checks"] = told
    benchmark = task.name if task else gold.task
    if benchmark is not None and benchmark in TASKS:
        comparison = published_rows(benchmark, matrices.codes, train_stays, len(matrices.note_ids))
        extra["published"] = comparison.to_dict()
    given = dataclasses.replace(
        matrices.evaluation_inputs(),
        **_threshold(args, matrices, gold),
        train_counts=counts,
        titles=label_titles(
            matrices.codes, gold.aliases or (task.aliases if task else {}), load_ontology(gold.classification)
        ),
        extra=extra,
        inputs=_inputs(args),
        command=command_line(),
    )
    if args.no_order:
        given = dataclasses.replace(given, places=None)
    if args.error_notes:
        extra["error_notes"] = _error_notes(given, predictions, args.error_notes)
    results = evaluate(given, draws=args.draws, seed=args.seed)
    page = write_report(results, args.out, title=args.title, overwrite=args.overwrite)
    if args.json:
        print(json.dumps(results.to_dict(), ensure_ascii=False))
    else:
        from concept_icd.report.terminal import print_results

        print_results(results, every=args.all)
        print(f"report: {page}")
    return 0


def classification_of(args: argparse.Namespace) -> str:
    """Of the gold codes: what a prepared corpus says, else what was named, else ICD-9-CM.

    Raises:
        InputError: the corpus says another than was named.
    """
    from concept_icd.artifacts import read_manifest
    from concept_icd.corpora import Corpus
    from concept_icd.ontology.tree import DEFAULT

    named: str | None = args.classification
    if not Path(args.gold).is_dir():
        return named or DEFAULT
    own = Corpus((), read_manifest(args.gold, "prepare")).classification
    if named not in (None, own):
        raise InputError(f"{args.gold} is coded in {own}, not in {named}: leave out --classification")
    return own


def _error_notes(given: EvaluationInputs, predictions: Predictions, count: int) -> list[dict[str, Any]]:
    import numpy as np

    from concept_icd.report.error_notes import error_notes

    threshold = 0.5 if given.threshold is None else given.threshold
    accepted = np.asarray(given.probabilities) >= threshold if given.decisions is None else given.decisions
    pair = np.asarray(given.gold, dtype=bool), np.asarray(accepted, dtype=bool)
    return error_notes(given.note_ids, given.codes, *pair, predictions.passages, count)


def check_shared(args: argparse.Namespace, stage: str) -> None:
    """What can be said before the long reading."""
    from concept_icd.outputs import require_replaceable

    if args.draws < 0:
        raise InputError(f"--draws {args.draws} is below 0; 0 gives no intervals")
    require_replaceable(args.out, stage, overwrite=args.overwrite)


def count_codes(gold: Gold) -> Counter[str]:
    """Label -> how many notes have it."""
    return Counter(label for labels in gold.codes.values() for label in labels)


def gold_faults(gold: Gold, labels: Collection[str] | None) -> list[str]:
    """Sentences on gold codes that cannot be billed, but for those of the label set."""
    from concept_icd.ontology.tree import load_ontology
    from concept_icd.readers.label_sets import told_codes

    known = {*(labels or ()), *(gold.label_set or ())}
    return told_codes(count_codes(gold), known, "gold assignments", load_ontology(gold.classification))


def training_counts(args: argparse.Namespace, gold: Gold) -> tuple[dict[str, int] | None, int | None]:
    """How many training notes have each code, and how many training notes there are; None where nothing says so."""
    from concept_icd.readers.predictions import read_gold

    path = args.train_counts or (args.gold if gold.train_stays else None)
    if path is None:
        return None, None
    training = read_gold(path, gold.label_set or (), default_split="train", classification=gold.classification)
    return dict(count_codes(training)), len(training.codes)


def hash_inputs(files: Mapping[str, str | Path]) -> dict[str, str]:
    """SHA-256 of what was read; of a prepared corpus, that of its manifest, which holds those of its files."""
    from concept_icd.artifacts import sha256
    from concept_icd.outputs import MANIFEST

    paths = {name: Path(path) for name, path in files.items()}
    return {name: sha256(path / MANIFEST if path.is_dir() else path) for name, path in paths.items()}


def command_line() -> str:
    """The command that was called, as it is stored."""
    from concept_icd.files import printable

    return printable(shlex.join(["concept-icd", *sys.argv[1:]]))


def _label_set(
    args: argparse.Namespace, task: Task | None, codes: Sequence[str] | None, gold: Gold
) -> tuple[Sequence[str] | None, str]:
    """The label set (None: all codes that occur), and in words who named it.

    Raises:
        InputError: a task was named, and the label set is another than its own.
    """
    labels = codes or (task and task.codes) or gold.label_set
    named = "named by the user" if codes else f"of {args.task or gold.task or 'the prepared corpus'}"
    if task is None:
        return labels, named
    if gold.task not in (None, task.name):
        raise InputError(f"{args.gold} was prepared for {gold.task}, not for {task.name}: another label set")
    for origin, found in ((args.codes, codes), (args.gold, gold.label_set)):
        if found and task.codes and set(found) != set(task.codes):
            shared = len({*found} & {*task.codes})
            raise InputError(
                f"{origin} names another label set than {task.name}: {len(found)} labels, {shared} of its "
                f"{len(task.codes)} among them"
            )
    if gold.task is None and (labels is None or (task.labels and len(labels) != task.labels)):
        count = f"{task.labels:,} labels" if task.labels else "its labels"
        raise InputError(
            f"the label set of {task.name} is counted from the data: name a corpus that was prepared for it as --gold, "
            f"or its {count} as --codes" + (f", not {len(labels):,}" if labels else "")
        )
    return labels, named


def _threshold(args: argparse.Namespace, matrices: Matrices, gold: Gold) -> dict[str, Any]:
    """The threshold or the decisions, and in words where they came from, as `EvaluationInputs` names them."""
    own = {"threshold": None, "decisions": matrices.decisions}
    if matrices.probabilities is None:
        if args.threshold is not None or args.threshold_from:
            raise InputError(f"{args.predictions} holds decisions without probabilities: there is nothing to threshold")
        return own | {"threshold_source": "the predictions' own decisions"}
    if args.threshold_from:
        predictions, dev_gold = args.threshold_from
        value, source = chosen_threshold(
            predictions, dev_gold, matrices.codes, gold, args.gold, only_common=args.only_common
        )
    elif args.threshold is not None:
        value, source = args.threshold, "given on the command line"
    elif matrices.decisions is not None:
        return own | {"threshold_source": "the predictions' own accepted flags"}
    else:
        value, source = 0.5, "default .5, not tuned"
    return {"threshold": value, "decisions": None, "threshold_source": source}


def chosen_threshold(
    predictions: str, dev_path: str, codes: Sequence[str], gold: Gold, gold_path: str, *, only_common: bool = False
) -> tuple[float, str]:
    """The threshold with the best micro-F1 on other notes, and in words where it came from.

    Args:
        predictions, dev_path: predictions and gold of these other notes. gold, gold_path: what is measured on.

    Raises:
        InputError: some of these notes are measured on, or the predictions have no probabilities.
    """
    from concept_icd.heads.calibration import choose_threshold
    from concept_icd.readers.predictions import read_gold, read_predictions
    from concept_icd.report.alignment import align

    split = "dev" if Path(dev_path).is_dir() else None
    dev_gold = read_gold(dev_path, codes, split, classification=gold.classification)
    shared = dev_gold.codes.keys() & gold.codes.keys()
    if shared:
        raise InputError(
            f"{len(shared)} notes of {dev_path} are also in {gold_path}, such as {min(shared)!r}; "
            "a threshold is never chosen on the notes that it is measured on"
        )
    dev = align(read_predictions(predictions, codes, gold.classification), dev_gold, codes, only_common)
    if dev.probabilities is None:
        raise InputError(f"{predictions} holds decisions without probabilities: no threshold can be chosen on them")
    chosen = choose_threshold(dev.gold, dev.probabilities, at_least_one=False)
    source = f"best micro-F1 ({chosen.micro_f1:.3f}) on {len(dev.note_ids)} other notes, {Path(dev_path).name}"
    return chosen.value, source


def _inputs(args: argparse.Namespace) -> dict[str, str]:
    paths = {"predictions": args.predictions, "gold": args.gold, "codes": args.codes, "training": args.train_counts}
    if args.threshold_from:
        paths |= {"dev predictions": args.threshold_from[0], "dev gold": args.threshold_from[1]}
    return hash_inputs({name: path for name, path in paths.items() if path})
