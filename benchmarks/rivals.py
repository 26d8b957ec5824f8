"""Rival systems on the same notes, each by its one command: CMC 2007 in folds, and codiesp9-50.

    python benchmarks/rivals.py --data-dir DATA --work runs/bench-rivals --rows frequency tfidf-svm plm-icd \\
        --parts cmc2007-0 codiesp9-50 --out benchmarks/results/rivals.json

A row is `concept-icd baseline NAME` with the options of `ROWS`, in a process of its own, one after the other; a killed
one goes on, and one that is finished is not made again, so that rows can be made one at a time. --out has all that
stands in --work, and what it had before.

DATA holds cmc2007, icd9cm, codiesp and icd9_maps. Parts: `cmc2007-F` is fold F of 5 of `benchmarks/cmc2007.py` at seed
0, a fifth of the 978 coded reports to predict and the rest to learn from (labels: the 45 codes of the challenge);
`codiesp9-50` has its official splits. Where there is no dev split, a tenth of the training reports chooses a threshold
and is not learnt from; `concept-icd baseline` says what differs by row. CEC's phrases are those of `concept-icd
phrases` from the lists and indexes of NCHS: a code's own are leaf phrases, those of the nodes above it parent phrases.
The plain models have no pre-trained encoder or T5 here: theirs are small and from scratch.

Intervals resample the predicted notes and hold the trained models fixed. Cost: processor seconds of the whole command,
training and predicting; a ratio is to TF-IDF + SVM on the same part and machine.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cmc2007 import reports, split
from common import arguments, costs_of, finish, parser_of, tell

from concept_icd.artifacts import git_commit, read_json, write_json
from concept_icd.corpora import load_corpus, save_corpus
from concept_icd.corpora.codiesp_tasks import prepare_codiesp
from concept_icd.corpora.gold import gold_matrix
from concept_icd.metrics.intervals import headline_samples, interval, intervals_of
from concept_icd.outputs import MANIFEST
from concept_icd.readers.predictions import read_predictions

FOLDS, SEED, DRAWS = 5, 0, 1000
CMC, CODIESP = "cmc2007", "codiesp9-50"
PARTS = (*(f"{CMC}-{fold}" for fold in range(FOLDS)), CODIESP)
FIGURES = ("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_f1_caml", "exact_match", "micro_auc",
           "macro_auc", "map", "precision_at_5")  # fmt: skip
#: What the others are set beside, in figures and in cost.
YARDSTICK = "tfidf-svm"
#: Of CEC: its phrases, and the release's steps where the config has fewer.
PHRASES, STEPS = ["--phrases", "PHRASES"], ["--concept_steps", "100", "--code_steps", "500"]


class Row(NamedTuple):
    """name: of the baseline. about: what the table calls the row. options: of the command."""

    name: str
    about: str
    options: list[str]


ROWS = {
    "frequency": Row("frequency", "frequency", []),
    # With its own choices, the strongest of which long notes take, it would be too weak a rival.
    "tfidf-svm": Row("tfidf-svm", "TF-IDF + linear SVM", ["--cs", "0.3", "1", "3", "10", "30"]),
    "plm-icd": Row("plm-icd", "PLM-ICD, small encoder from scratch", ["--config", "plm-icd-tiny"]),
    "ltr-icd": Row("ltr-icd", "LTR-ICD as we read it, small T5 from scratch", ["--config", "tiny"]),
    "lora-classifier": Row(
        "lora-classifier",
        "tiny model, LoRA + classification head",
        ["--config", "tiny", "--num_train_epochs", "10"],
    ),
    "cec": Row("cec", "CEC, tiny model", ["--config", "tiny", *STEPS, *PHRASES]),
    "lora-classifier-smollm2": Row(
        "lora-classifier", "SmolLM2-135M, LoRA + classification head", ["--config", "smollm2"]
    ),
    "cec-smollm2": Row("cec", "CEC, SmolLM2-135M", ["--config", "smollm2", *PHRASES]),
}


def main() -> None:
    parser = parser_of(__doc__, data=True, work="runs/bench-rivals")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[name for name in ROWS if "smollm2" not in name])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--limit", type=int, help="of the reports of CMC 2007")
    parser.add_argument("--options", default="", help="of every row that trains a network, as one string")
    args = arguments(parser)
    for part in args.parts:
        prepare(part, args)
        for row in args.rows:
            if not (args.work / part / row / "cost.json").is_file():
                tell(f"{part}: {row}")
                make(part, row, args)
    before = read_json(args.out)["tables"] if args.out and args.out.is_file() else {}
    tables = {name: measure(args.work, parts) for name, parts in groups(args.work).items()}
    for name, table in tables.items():
        table["rows"] = before.get(name, {}).get("rows", {}) | table["rows"]
        for row, found in table["rows"].items():
            tell(name, row, {figure: round(found["figures"][figure], 4) for figure in ("micro_f1", "macro_f1", "map")})
    finish(args, {"draws": DRAWS, "tables": before | tables}, DATA=args.data_dir, WORK=args.work)


def prepare(part: str, args: argparse.Namespace) -> None:
    """The corpus of a part, and the phrases of its labels."""
    folder = args.work / part
    if not (folder / "corpus" / MANIFEST).is_file():
        if part == CODIESP:
            prepare_codiesp(args.data_dir / "codiesp", args.data_dir / "icd9_maps", CODIESP, folder / "corpus")
        else:
            notes = reports(args.data_dir / "cmc2007", args.limit)
            codes = sorted({code for note in notes for code in note.codes})
            own = split(notes, args.seed, int(part.removeprefix(f"{CMC}-")), FOLDS)
            save_corpus(folder / "corpus", own, label_set=codes, seed=args.seed)
    if not (folder / "phrases.json").is_file():
        labels = load_corpus(folder / "corpus").label_set or ()
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
        nchs = args.data_dir / "icd9cm" / "nchs_2011"
        lists = ["--tabular", *map(str, sorted(nchs.glob("?tab*.zip")))]
        lists += ["--index", *map(str, sorted(nchs.glob("?index*.zip")))]
        costs_of(
            concept_icd("phrases", "--codes", str(folder / "labels.txt"), *lists, "--out", str(folder / "phrases.json"))
        )


def make(part: str, row: str, args: argparse.Namespace) -> None:
    """Runs a row's command, and writes what it cost into its folder.

    What an earlier run of it that was killed had spent is not counted: `whole` is False then.
    """
    folder, found = args.work / part, ROWS[row]
    out = folder / row
    given = [str(folder / "phrases.json") if word == "PHRASES" else word for word in found.options]
    plain = found.name in ("frequency", "tfidf-svm")
    seed = [] if found.name == "frequency" else ["--seed", str(args.seed)]
    more = [] if plain else shlex.split(args.options)
    words = ["baseline", found.name, "--corpus", str(folder / "corpus"), "--out", str(out), *given, *seed, *more]
    begun, costs = out.exists(), dict[str, Any]()
    if not (out / MANIFEST).is_file():
        costs = costs_of(concept_icd(*words))
    said = shlex.join(["concept-icd", *words]).replace(str(args.work), "WORK")
    write_json(out / "cost.json", {"whole": not begun, **costs, "command": said, "commit": git_commit()})


def concept_icd(*words: str) -> list[str]:
    return [sys.executable, "-m", "concept_icd.cli.main", *words]


def groups(work: Path) -> dict[str, list[str]]:
    """Table -> its parts: every part that is there alone, and all folds together."""
    made = [part for part in PARTS if any((work / part / row / "cost.json").is_file() for row in ROWS)]
    folds = [part for part in made if part != CODIESP]
    return {part: [part] for part in made} | ({CMC: folds} if len(folds) == FOLDS else {})


def measure(work: Path, parts: list[str]) -> dict[str, Any]:
    """The rows that are finished on every one of these parts, their decisions on all of them taken together."""
    corpora = {part: load_corpus(work / part / "corpus") for part in parts}
    labels = corpora[parts[0]].label_set or ()
    notes = [note for corpus in corpora.values() for note in corpus.split("test")]
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, labels)
    found: dict[str, Any] = {}
    samples: dict[str, dict[str, np.ndarray]] = {}
    for row, about in ROWS.items():
        if all((work / part / row / "cost.json").is_file() for part in parts):
            told = [decided(work / part / row, labels, corpora[part].split("test")) for part in parts]
            probabilities, scores, accepted = (np.concatenate(own) for own in zip(*told, strict=True))
            drawn = headline_samples(gold, probabilities, accepted, scores, draws=DRAWS)
            samples[row] = {figure: np.asarray(drawn[figure]) for figure in FIGURES}
            costs = [read_json(work / part / row / "cost.json") for part in parts]
            found[row] = {
                "about": about.about,
                "figures": {figure: float(own[0]) for figure, own in samples[row].items()},
                "intervals": intervals_of(samples[row]),
                "cost": cost(costs),
                "commands": [own["command"] for own in costs],
                "commits": sorted({str(own["commit"]) for own in costs}),
            }
    for row, own in found.items():
        if YARDSTICK in found and row != YARDSTICK:
            base, seconds = samples[YARDSTICK], found[YARDSTICK]["cost"]["processor"]
            own["minus_svm"] = {
                figure: {"difference": float(values[0] - base[figure][0]), **interval(values - base[figure])}
                for figure, values in samples[row].items()
            }
            if seconds and own["cost"]["processor"]:
                own["cost"]["processor_ratio"] = round(own["cost"]["processor"] / seconds, 3)
    counts = {name: sum(len(corpus.split(name)) for corpus in corpora.values()) for name in ("train", "dev", "test")}
    return {"parts": parts, "notes": counts, "labels": len(labels), "gold_labels": int(gold.sum()), "rows": found}


def decided(folder: Path, labels: tuple[str, ...], notes: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
    """Probabilities, scores of the order and decisions, (notes, labels), of a row's predictions file."""
    told = read_predictions(folder / "predictions.jsonl", labels)
    rows = [told.note_ids.index(note.note.note_id) for note in notes]
    columns = [told.codes.index(label) for label in labels]
    if told.probabilities is None or told.scores is None or told.accepted is None:
        raise SystemExit(f"{folder} does not rank and decide")
    return tuple(values[np.ix_(rows, columns)] for values in (told.probabilities, told.scores, told.accepted))


def cost(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds over the parts, and the largest peak; None where a run was killed in between and went on."""
    whole = all(part["whole"] for part in parts)
    found = {name: round(sum(part[name] for part in parts), 1) if whole else None for name in ("wall", "processor")}
    return found | {"peak_gib": max(part["peak_gib"] for part in parts) if whole else None}


if __name__ == "__main__":
    main()
