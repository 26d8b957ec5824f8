"""Codes in billing order on invented stays: probability order, the ranking head, LTR-ICD and frequency, 3 seeds.

    python benchmarks/ordering.py --work runs/bench-ordering --out benchmarks/results/ordering.json

Each seed invents its own stays in billing order, tunes the tiny model, fits the heads on out-of-fold scores
of the training stays, and trains the tiny LTR-ICD from scratch on the same ones. The test stays are looked at once.
Frequency order, probability order and the ranking head are orders of one coder's codes: it accepts the same ones. The
two trainings run side by side, one thread each; a killed run goes on where it stopped. The notes are made from
templates: the figures compare ways of ordering, and say nothing of real notes. The tiny LTR-ICD is small, from scratch
and underfitted on so few stays: it shows that the system runs and learns, not what its paper's 220 M parameters give.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, arguments, finish, over_seeds, parser_of, tell
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from concept_icd import metrics
from concept_icd.corpora import Corpus, load_corpus, save_corpus, synthetic_notes
from concept_icd.metrics.intervals import draw_weights, drawn_means, interval
from concept_icd.metrics.order import note_order, order_figures
from concept_icd.readers.predictions import read_gold, read_predictions
from concept_icd.report.alignment import Matrices, align

HEAD, PROBABILITY, LTR, FREQUENCY = "ranking head", "probability order", "LTR-ICD (tiny)", "frequency order"
#: A yard-stick that learns the principal diagnosis alone, from words.
LINEAR = "TF-IDF + logistic regression on the principal"
FIGURES = (
    *("primary_accuracy", "primary_mrr", "primary_hit_at_3", "graded_ndcg_diagnoses", "graded_ndcg_procedures"),
    *("kendall_tau_diagnoses", "cumulative_gain_at_5_diagnoses", "micro_f1", "macro_f1", "macro_f1_caml"),
)
COMPARED = ("primary_accuracy", "graded_ndcg_diagnoses", "kendall_tau_diagnoses")
DRAWS = 2000
CONFIG, LTR_CONFIG = "synthetic-tiny", ROOT / "configs" / "ltr-icd" / "tiny.yaml"


def run_both(folder: Path, seed: int, args: argparse.Namespace) -> None:
    """The concept coder and LTR-ICD on one corpus, side by side; what is complete is skipped by each."""
    corpus = ["--corpus", str(folder / "corpus")]
    concepts = [sys.executable, "-m", "concept_icd.cli.main", "run", *corpus, "--config", CONFIG]
    concepts += ["--out", str(folder / "concepts"), "--seed", str(seed), "--", *args.options]
    ltr = [sys.executable, str(ROOT / "scripts" / "train_ltr_icd.py"), "--config", str(LTR_CONFIG), *corpus]
    ltr += ["--output_dir", str(folder / "ltr"), "--seed", str(seed), *args.ltr_options]
    commands = {folder / "concepts" / "evaluation": concepts, folder / "ltr" / "predictions.jsonl": ltr}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, env=environment) for result, command in commands.items() if not result.exists()
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"a training of seed {seed} failed; see above")


def measure(folder: Path) -> dict[str, Any]:
    """System -> figures and per-note values, on the test stays of one seed."""
    corpus = load_corpus(folder / "corpus")
    codes = sorted({code for note in corpus.split("train") for code in note.codes})
    gold = read_gold(folder / "corpus", split="test")
    concepts = align(read_predictions(folder / "concepts" / "evaluation" / "predictions.jsonl"), gold, codes)
    ltr = align(read_predictions(folder / "ltr" / "predictions.jsonl"), gold, codes)
    counts = np.array([sum(code in note.codes for note in corpus.split("train")) for code in concepts.codes], float)
    frequency = np.tile(counts, (len(concepts.note_ids), 1))
    orders = {
        FREQUENCY: (concepts, frequency),
        PROBABILITY: (concepts, concepts.probabilities),
        HEAD: (concepts, concepts.scores),
        LTR: (ltr, ltr.scores),
        LINEAR: (concepts, principal_from_words(corpus, concepts)),
    }
    return {"patients": concepts.patients, "systems": {name: one(*pair) for name, pair in orders.items()}}


def principal_from_words(corpus: Corpus, of: Matrices) -> np.ndarray:
    """The chance of being the principal diagnosis, (notes, codes), by a linear model of the notes' words."""
    train = [note for note in corpus.split("train") if note.principal_diagnosis]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=10, max_iter=2000)
    ).fit([note.note.text for note in train], [note.principal_diagnosis for note in train])
    text = {note.note.note_id: note.note.text for note in corpus.split("test")}
    chance = np.full((len(of.note_ids), len(of.codes)), -1.0)
    known = [(place, of.codes.index(code)) for place, code in enumerate(model.classes_) if code in of.codes]
    places, columns = zip(*known, strict=True)
    chance[:, columns] = model.predict_proba([text[note_id] for note_id in of.note_ids])[:, places]
    return chance


def one(of: Matrices, order: Any) -> dict[str, Any]:
    diagnoses = np.array([kind == "diagnosis" for kind in of.kinds])
    values = note_order(of.places, order, diagnoses, of.principal)
    decided = metrics.decision_metrics(of.gold, of.decisions)
    figures = order_figures(values) | {name: decided[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml")}
    return {"figures": figures, "values": values, "decisions": of.decisions}


def summarise(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds; paired differences, resampling each seed's patients."""
    if any((one["systems"][HEAD]["decisions"] != one["systems"][PROBABILITY]["decisions"]).any() for one in seeds):
        raise SystemExit("the ranking head changed which codes are accepted")
    systems = {
        name: over_seeds([one["systems"][name]["figures"] for one in seeds], FIGURES) for name in seeds[0]["systems"]
    }
    pairs = {f"{HEAD} minus {other}": difference(seeds, HEAD, other) for other in (PROBABILITY, LTR, LINEAR)}
    return {
        "test_notes": [len(one["patients"]) for one in seeds],
        "test_patients": [len(set(one["patients"])) for one in seeds],
        "primary_notes": [one["systems"][HEAD]["figures"]["primary_notes"] for one in seeds],
        "systems": systems,
        "differences": pairs,
        "draws": DRAWS,
    }


def difference(seeds: list[dict[str, Any]], a: str, b: str) -> dict[str, dict[str, float]]:
    """Mean over seeds of a - b with its 95 % interval over the patients of all seeds."""
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in COMPARED}
    for number, seed in enumerate(seeds):
        patients = seed["patients"]
        weights = draw_weights(patients, len(patients), DRAWS, number)
        means = [drawn_means({n: seed["systems"][s]["values"][n] for n in COMPARED}, weights) for s in (a, b)]
        for name in COMPARED:
            drawn[name].append(means[0][name] - means[1][name])
    figures = [[seed["systems"][system]["figures"] for seed in seeds] for system in (a, b)]
    return {
        name: {
            "difference": float(np.mean([x[name] - y[name] for x, y in zip(*figures, strict=True)])),
            **interval(mean_over_seeds(drawn[name])),
        }
        for name in COMPARED
    }


def mean_over_seeds(drawn: list[np.ndarray]) -> np.ndarray:
    """Samples of the mean over seeds that have no patient in common: each leaves out a group of one seed."""
    whole = float(np.mean([samples[0] for samples in drawn]))
    return np.concatenate([[whole], *(whole + (samples[1:] - samples[0]) / len(drawn) for samples in drawn)])


def main() -> None:
    parser = parser_of(__doc__, (0, 1, 2), work="runs/bench-ordering", notes=800)
    parser.add_argument("--options", type=shlex.split, default=[], help="that override the tuning config")
    parser.add_argument("--ltr-options", type=shlex.split, default=[], help="that override the LTR-ICD config")
    args = arguments(parser)
    seeds = []
    for seed in args.seeds:
        folder = args.work / f"seed-{seed}"
        if not (folder / "corpus").is_dir():
            save_corpus(folder / "corpus", synthetic_notes(args.notes, seed, ordered=True), seed=seed)
        run_both(folder, seed, args)
        seeds.append(measure(folder))
    result = {"notes": args.notes, "seeds": args.seeds, **summarise(seeds)}
    for name, figures in result["systems"].items():
        tell(f"{name:<20} primary {figures['primary_accuracy']['mean']:.3f} micro-F1 {figures['micro_f1']['mean']:.4f}")
    finish(args, result, WORK=args.work)


if __name__ == "__main__":
    main()
