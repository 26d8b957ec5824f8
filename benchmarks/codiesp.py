"""CodiEsp in ICD-9-CM: the concept pipeline, TF-IDF + linear SVM and label attention on long public notes.

    python benchmarks/codiesp.py --data-dir DIR --work runs/bench-codiesp --out benchmarks/results/codiesp.json

DIR holds the folders `codiesp` and `icd9_maps`. Official splits. All systems learn from the training cases. The concept
pipeline tunes one adapter on them (config TASK-tiny); heads and threshold are fitted on the dev cases, cross-validated;
the SVM chooses its regularisation and threshold by cross-validation on the training cases, or on training and dev cases
together, which it then learns from too; label attention (PLM-ICD's head over a small encoder from scratch) takes its
threshold from the dev cases. Test cases are predicted once. The frequency row gives every case the same codes.
A killed run goes on where it stopped, and a system that is there already is not made again; with `--systems`, several
can be made side by side. Tasks that --out has already are kept, each with its command.

The system `smollm2` is the concept pipeline with SmolLM2-135M in the place of the tiny model (config TASK-smollm2),
warmed up: `--base OUT/model` of `concept-icd warmup --config smollm2-135m --data_dir DIR --out OUT`. Its tuning takes
hours.

The base model was pre-trained on the training cases' text, among other text, not on their codes, and not on dev or
test cases. Intervals resample test cases and hold the trained models fixed.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, arguments, command_of, figures_of, finish, parser_of, tell

from concept_icd.artifacts import read_json, write_json
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.codiesp_tasks import prepare_codiesp
from concept_icd.corpora.gold import gold_matrix
from concept_icd.metrics.decisions import level_metrics
from concept_icd.metrics.intervals import headline_samples, interval, intervals_of
from concept_icd.outputs import MANIFEST, new_file

TASKS = ("codiesp9-50", "codiesp9-rare50", "codiesp9-all")
FIGURES = ("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_f1_caml", "micro_auc", "macro_auc",
           "precision_at_5", "map")  # fmt: skip
DRAWS = 1000
#: Of the SVM; 3, where its own choices end, was taken in a first run, so they go on.
CS = (0.3, 1.0, 3.0, 10.0, 30.0)
#: The same for thousands of labels: what both smaller sets took, lest its folds take hours.
CS_OF_MANY, MANY = (30.0,), 500
CONCEPTS = "concept pipeline, tiny model"
Decided = tuple[np.ndarray, np.ndarray, dict[str, Any]]


def main() -> None:
    parser = parser_of(__doc__, data=True, work="runs/bench-codiesp", label_attention_epochs=30.0)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    usual = [name for name in SYSTEMS if name != "smollm2"]
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=usual)
    parser.add_argument("--base", type=Path, help="base model of the system smollm2")
    parser.add_argument("--tuning-options", type=shlex.split, default=[], help="that override the tuning config")
    args = arguments(parser)
    if "smollm2" in args.systems and args.base is None:
        parser.error("the row smollm2 is of a warmed-up model: name it with --base OUT/model")
    for task in args.tasks:
        folder = args.work / task
        if not (folder / "prepared" / MANIFEST).is_file():
            prepare_codiesp(args.data_dir / "codiesp", args.data_dir / "icd9_maps", task, folder / "prepared")
        for name in args.systems:
            path = folder / f"{name}.npz"
            if not path.is_file():
                tell(f"{task}: {name}")
                probabilities, accepted, said = SYSTEMS[name][1](load_corpus(folder / "prepared"), folder, args)
                with new_file(path) as staging, staging.open("wb") as file:
                    np.savez_compressed(file, probabilities=probabilities, accepted=accepted)
                write_json(folder / f"{name}.json", said)
    names = {"DIR": args.data_dir, "WORK": args.work, "OUT/model": args.base}
    measured = {task: measure(args.work / task, args.systems) for task in args.tasks}
    for task, found in measured.items():
        found["command"] = command_of(args, **names)
        for name, system in found["systems"].items():
            tell(task, name, {figure: round(value, 4) for figure, value in system["figures"].items()})
    before = read_json(args.out)["tasks"] if args.out and args.out.is_file() else {}
    finish(args, {"draws": DRAWS, "tasks": before | measured}, **names)


# Systems: probabilities and decisions of the test cases, (cases, labels), and what is told of how they were made ------


def concepts(corpus: Corpus, folder: Path, args: argparse.Namespace, model: str = "tiny") -> Decided:
    """Tune on train, score dev and test, fit on dev, decide on test."""
    from concept_icd.pipeline import fit_coder
    from concept_icd.scoring.adapters import score_corpus
    from concept_icd.scoring.store import load_scores
    from concept_icd.tuning.config import parse_options
    from concept_icd.tuning.finetune import finetune

    labels, config = labels_of(corpus), f"{folder.name}-{model}"
    work = folder if model == "tiny" else folder / model
    tuned, scored = work / "tuned", work / "scores"
    if not (tuned / MANIFEST).is_file():
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
        own = ["--corpus", str(folder / "prepared"), "--output_dir", str(tuned), "--seed", str(args.seed)]
        own += ["--model_name_or_path", str(args.base)] if model != "tiny" else []
        options = ["--config", config, "--codes", str(folder / "labels.txt"), *own, *args.tuning_options]
        finetune(parse_options(options))
    if not (scored / MANIFEST).is_file():
        score_corpus([note.note for note in (*corpus.split("dev"), *corpus.split("test"))], tuned, scored)
    if not (work / "coder" / MANIFEST).is_file():
        fit_coder(scored, corpus.notes, "dev").save_pretrained(work / "coder")
    coder, test = ConceptCoder.from_pretrained(work / "coder"), corpus.split("test")
    scores = load_scores(scored).select([note.note.note_id for note in test])
    known = coder.predict_proba(scores)
    columns = [coder.concepts.codes.index(label) for label in labels]
    probabilities = known[:, columns]
    weak = np.stack([coder.concepts.weak_labels(note.codes) for note in test])
    said = {
        "threshold": threshold_in_words(coder.heads.threshold),
        "config": (ROOT / "configs" / f"{config}.yaml").read_text().splitlines(),
        "concepts": len(coder.concepts),
        "levels": level_metrics(scores.logits, weak, [concept.level for concept in coder.concepts.concepts]),
    }
    return probabilities, coder.heads.threshold.accept(known)[:, columns], said


def svm(corpus: Corpus, folder: Path, args: argparse.Namespace, splits: tuple[str, ...] = ("train",)) -> Decided:
    """On the training cases, or on the cases of several splits."""
    from concept_icd.baselines.tfidf_svm import TfidfSvm

    notes = [note for split in splits for note in corpus.split(split)]
    gold, groups = gold_matrix([note.note.note_id for note in notes], notes, labels_of(corpus))
    cs = CS if gold.shape[1] <= MANY else CS_OF_MANY
    model = TfidfSvm.fit([note.note.text for note in notes], gold, groups, cs=cs, seed=args.seed)
    probabilities = model.predict_proba([note.note.text for note in corpus.split("test")])
    said = {"threshold": threshold_in_words(model.threshold), "c": model.c, "notes": len(notes)}
    return probabilities, model.threshold.accept(probabilities), said


def label_attention(corpus: Corpus, folder: Path, args: argparse.Namespace) -> Decided:
    """PLM-ICD's head, by its own command."""
    out = folder / "label-attention"
    if not (out / MANIFEST).is_file():
        command = [sys.executable, str(ROOT / "scripts" / "train_ltr_icd.py")]
        command += ["--config", str(ROOT / "configs" / "ltr-icd" / "tiny.yaml"), "--ranking", "false"]
        command += ["--corpus", str(folder / "prepared"), "--output_dir", str(out), "--seed", str(args.seed)]
        command += ["--max_tokens", "1536", "--num_train_epochs", str(args.label_attention_epochs)]
        subprocess.run(command, check=True)
    from concept_icd.baselines.ltr_icd.predicting import load, predict_notes

    labels, test = labels_of(corpus), corpus.split("test")
    model, reader = load(out / "model")
    column = {code: number for number, code in enumerate(model.settings.codes)}
    known = [label in column for label in labels]
    probabilities, accepted = np.zeros((len(test), len(labels))), np.zeros((len(test), len(labels)), dtype=bool)
    own = [column[label] for label in labels if label in column]
    for row, found in enumerate(predict_notes(model, reader, [note.note for note in test])):
        probabilities[row, known], accepted[row, known] = found.probabilities[own], found.accepted[own]
    chosen = dict(model.settings.threshold or {})
    said = {"threshold": f"{chosen['value']:.3f}: {chosen['source']}", "epochs": args.label_attention_epochs}
    return probabilities, accepted, said | {"dev_micro_f1": chosen["micro_f1"]}


def frequency(corpus: Corpus, folder: Path, args: argparse.Namespace) -> Decided:
    """Each label's share of the training cases; the threshold is the best one on them."""
    from concept_icd.baselines.frequency import fit_frequency

    labels, train = labels_of(corpus), corpus.split("train")
    gold, _ = gold_matrix([note.note.note_id for note in train], train, labels)
    share, threshold = fit_frequency(gold)
    probabilities = np.tile(share, (len(corpus.split("test")), 1))
    return probabilities, threshold.accept(probabilities), {"threshold": threshold_in_words(threshold)}


#: Name -> as it is called in the figures, and what decides.
SYSTEMS: dict[str, tuple[str, Callable[[Corpus, Path, argparse.Namespace], Decided]]] = {
    "concepts": (CONCEPTS, concepts),
    "smollm2": ("concept pipeline, SmolLM2-135M warmed up", partial(concepts, model="smollm2")),
    "svm": ("TF-IDF + linear SVM", svm),
    "svm_dev": ("TF-IDF + linear SVM, dev cases too", partial(svm, splits=("train", "dev"))),
    "label_attention": ("label attention (PLM-ICD's head, small encoder from scratch)", label_attention),
    "frequency": ("frequency", frequency),
}


def labels_of(corpus: Corpus) -> tuple[str, ...]:
    if corpus.label_set is None:
        raise SystemExit("the corpus fixes no label set")
    return corpus.label_set


def threshold_in_words(threshold: Any) -> str:
    return f"{threshold.value:.3f}: {threshold.source}"


# Figures --------------------------------------------------------------------------------------------------------------


def measure(folder: Path, keys: list[str]) -> dict[str, Any]:
    """Figures of the systems on a task with intervals, and the paired differences from the concept pipeline."""
    corpus = load_corpus(folder / "prepared")
    labels, test = labels_of(corpus), corpus.split("test")
    gold, _ = gold_matrix([note.note.note_id for note in test], test, labels)
    systems: dict[str, Any] = {}
    samples: dict[str, dict[str, np.ndarray]] = {}
    for key in keys:
        name = SYSTEMS[key][0]
        with np.load(folder / f"{key}.npz", allow_pickle=False) as saved:
            probabilities, accepted = saved["probabilities"], saved["accepted"]
        found = figures_of(gold, probabilities, accepted)
        drawn = headline_samples(gold, probabilities, accepted, draws=DRAWS)
        samples[name] = {figure: np.asarray(drawn[figure]) for figure in FIGURES if figure in drawn}
        systems[name] = {
            "figures": {figure: float(found[figure]) for figure in FIGURES},
            "intervals": intervals_of(samples[name]),
            **read_json(folder / f"{key}.json"),
        }
    differences = {
        f"{CONCEPTS} minus {other}": {
            figure: {
                "difference": systems[CONCEPTS]["figures"][figure] - systems[other]["figures"][figure],
                **interval(samples[CONCEPTS][figure] - samples[other][figure]),
            }
            for figure in samples[CONCEPTS]
        }
        for other in systems
        if other != CONCEPTS and CONCEPTS in systems
    }
    counts = {split: len(corpus.split(split)) for split in ("train", "dev", "test")}
    return {
        "notes": counts,
        "labels": len(labels),
        "gold_labels": {split: sum(len(note.codes) for note in corpus.split(split)) for split in counts},
        "systems": systems,
        "differences": differences,
    }


if __name__ == "__main__":
    main()
