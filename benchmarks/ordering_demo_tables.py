r"""Real billing orders: the codes of the open MIMIC-III demo, put in order without any text.

    concept-icd prepare mimic3 --mimic-dir DEMO --task mimic3-tables --out runs/demo-tables
    python benchmarks/ordering_demo_tables.py --corpus runs/demo-tables \
        --out benchmarks/results/ordering_demo_tables.json

129 stays of 100 patients are few: intervals are wide, and 322 of the 581 diagnosis codes occur in one stay only.
Folds leave patients out, and all is learnt in the training folds: probabilities (a logistic regression a code on drugs,
age and sex; codes of fewer than three training stays get their smoothed frequency), frequencies, how often a code is
principal, which codes stand before which. What the head is trained on comes out of inner folds. Two tasks:

- `known codes`: a stay's true codes are given, and only their order is asked for;
- `predicted codes`: all codes are ranked from the probabilities; what the threshold accepts may be put in order.

The head is the package's; "with the tree" adds what the orders say of a code's category and chapter, for the rare ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, finish, minutes, parser_of
from sklearn.linear_model import LogisticRegression

from concept_icd.corpora import load_corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_places
from concept_icd.heads.calibration import choose_threshold
from concept_icd.heads.ranker import LearnedOrder, Ranker
from concept_icd.heads.ranker_fitting import GoldOrder, fit_ranker
from concept_icd.heads.ranking_features import PairTable
from concept_icd.metrics.intervals import draw_weights, drawn_means, interval, scale_of
from concept_icd.metrics.order import note_order, order_figures
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote

FIGURES = ("primary_accuracy", "primary_mrr", "primary_hit_at_3", "graded_ndcg_diagnoses", "graded_ndcg_procedures",
           "kendall_tau_diagnoses", "kendall_tau_procedures")  # fmt: skip
SYSTEMS = ("random", "frequency", "probability", "head", "head_with_tree")
TASKS = ("known codes", "predicted codes")
#: Inverse strengths of the logistic regressions; the one with the lowest loss on inner folds is taken.
CS = (0.003, 0.03, 0.3)
#: A code needs so many training stays for a regression of its own, a drug so many for a column.
FEWEST = 3
DRAWS = 1000


@dataclass(frozen=True)
class Tables:
    """All stays: features (stays, columns), billing orders, patients, and the tree above the codes."""

    x: np.ndarray
    gold: GoldOrder
    codes: tuple[str, ...]
    patients: tuple[str, ...]
    groups: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, notes: tuple[CodedNote, ...]) -> Tables:
        ontology = load_ontology("icd9cm")
        codes = tuple(sorted({code for note in notes for code in note.codes}))
        places, principal = gold_places([note.note.note_id for note in notes], notes, codes)
        procedure = np.array([ontology.kind(code) == "procedure" for code in codes])
        drugs = sorted({drug for note in notes for drug in note.note.drugs})
        given = np.array([[drug in note.note.drugs for drug in drugs] for note in notes], dtype=float)
        age = np.array([(0.0 if note.note.age is None else note.note.age) / 50 for note in notes])
        x = np.column_stack([age, [note.note.sex == "F" for note in notes], given[:, given.sum(axis=0) >= FEWEST]])
        levels = [[code.split(".")[0] for code in codes], [ontology.ancestors(code)[0] for code in codes]]
        groups = tuple(np.unique(level, return_inverse=True)[1] for level in levels)
        return cls(
            x, GoldOrder(places, principal, procedure), codes, tuple(str(n.note.patient_id) for n in notes), groups
        )


def fit_probabilities(x: np.ndarray, gold: np.ndarray, x_new: np.ndarray, c: float) -> np.ndarray:
    """Probabilities of every code, (new stays, codes)."""
    counts = gold.sum(axis=0)
    found = np.tile((counts + 0.1) / (len(gold) + 1), (len(x_new), 1))
    for code in np.flatnonzero((counts >= FEWEST) & (counts < len(gold))):
        # The scale leaves the intercept all but free.
        model = LogisticRegression(C=c, solver="liblinear", intercept_scaling=20).fit(x, gold[:, code])
        found[:, code] = model.predict_proba(x_new)[:, 1]
    return found


def out_of_fold(x: np.ndarray, gold: np.ndarray, fold: np.ndarray) -> tuple[float, np.ndarray]:
    """The strength with the lowest loss, and its probabilities of stays that the regressions did not see."""
    best = (np.inf, 0.0, gold.astype(float))
    for c in CS:
        found = np.empty(gold.shape)
        for f in np.unique(fold):
            found[fold == f] = fit_probabilities(x[fold != f], gold[fold != f], x[fold == f], c)
        loss = -float(np.log(np.where(gold, found, 1 - found)).mean())
        best = min(best, (loss, c, found), key=lambda entry: entry[0])
    return best[1], best[2]


def tree_features(tables: Tables, seen: np.ndarray, new: np.ndarray, probabilities: np.ndarray) -> PairTable:
    """What the orders of the seen stays say of categories and chapters, for every code of the new ones.

    Per level: the log-odds that a code of the group is the first of its kind, its mean place (0 first, 1 last), and
    how the group agrees with those of the stay's other codes (log-odds of standing before, weighted by probability).
    """
    orders = tables.gold.select(seen).count()
    columns = []
    for group in tables.groups:
        size = group.max() + 1
        member = np.zeros((len(group), size))
        member[np.arange(len(group)), group] = 1
        n, first, place = (member.T @ counts for counts in (orders.frequency, orders.first, orders.places))
        rate = orders.first.sum() / orders.frequency.sum()
        share = (first + 4 * rate) / (n + 4)
        before = member.T @ (orders.before @ member)
        precedence = np.log1p(before) - np.log1p(before.T)
        present = np.where(probabilities >= 0.05, probabilities, 0.0) @ member
        for values in (np.log(share / (1 - share)), (place + 2) / (n + 4)):
            columns.append(np.tile(values[group], (len(new), 1)))
        columns.append((present @ precedence.T)[:, group])
    names = tuple(f"{level}_{what}" for level in ("category", "chapter") for what in ("first", "place", "agreement"))
    values = np.stack(columns, axis=-1).reshape(-1, len(names)).astype(np.float32)
    return PairTable(names, probabilities.shape, np.arange(len(values)), values)


def tree_out_of_fold(tables: Tables, rows: np.ndarray, fold: np.ndarray, probabilities: np.ndarray) -> PairTable:
    """`tree_features` of stays from those of the other folds."""
    parts = {
        f: tree_features(tables, rows[fold != f], rows[fold == f], probabilities[fold == f]) for f in np.unique(fold)
    }
    names = next(iter(parts.values())).names
    values = np.zeros((*probabilities.shape, len(names)), dtype=np.float32)
    for f, part in parts.items():
        values[fold == f] = part.values.reshape(-1, probabilities.shape[1], len(names))
    return PairTable(names, probabilities.shape, np.arange(probabilities.size), values.reshape(-1, len(names)))


def known(probabilities: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Probabilities where the codes of a stay are known: above a half in the same order, and zero for all others."""
    return np.where(gold, 0.5 + probabilities / 2, 0.0)


def scores_of(order: np.ndarray) -> np.ndarray:
    """Minus the rank of each code, from the order."""
    scores = np.empty(order.shape)
    np.put_along_axis(scores, order, -np.arange(order.shape[1], dtype=float)[None, :], axis=1)
    return scores


def run_fold(tables: Tables, train: np.ndarray, test: np.ndarray, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Task -> system -> scores (test stays, codes); task -> the head's choice."""
    gold = tables.gold.places > 0
    fold = group_folds([tables.patients[i] for i in train], 4, seed)
    c, inner = out_of_fold(tables.x[train], gold[train], fold)
    outer = fit_probabilities(tables.x[train], gold[train], tables.x[test], c)
    threshold = choose_threshold(gold[train], inner, at_least_one=None, source="inner folds")
    frequency = gold[train].sum(axis=0)
    frequencies = np.tile(frequency / (len(train) + 1), (len(test), 1))
    chance = np.random.default_rng(seed).random(outer.shape)
    scores: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for task in TASKS:
        if task == "known codes":
            p_train, p_test = known(inner, gold[train]), known(outer, gold[test])
            accepted = gold[train], gold[test]
            by_frequency, by_chance = known(frequencies, gold[test]), known(chance, gold[test])
        else:
            p_train, p_test, by_frequency, by_chance = inner, outer, frequencies, chance
            accepted = threshold.accept(inner), threshold.accept(outer)
        plain = Ranker(tables.codes, frequency)
        found = {
            "random": plain.rank(by_chance),
            "frequency": plain.rank(by_frequency),
            "probability": plain.rank(p_test),
        }
        trees = {
            "head": (None, None),
            "head_with_tree": (
                tree_out_of_fold(tables, train, fold, p_train),
                tree_features(tables, train, test, p_test),
            ),
        }
        for name, (text_train, text_test) in trees.items():
            learned, choice = fit_ranker(
                p_train, accepted[0], tables.gold.select(train), fold, tables.codes, text=text_train, seed=seed
            )
            found[name] = Ranker(tables.codes, frequency, learned).rank(p_test, accepted[1], text=text_test)
            chosen.setdefault(task, {})[name] = _choice(choice, learned)
        scores[task] = {name: scores_of(order) for name, order in found.items()}
    return scores, chosen


def _choice(choice: dict[str, Any], learned: LearnedOrder | None) -> str:
    return choice["chosen"] if learned is None else f"{choice['chosen']}, ridge {choice['ridge']:g}"


def measure(tables: Tables, scores: list[dict[str, np.ndarray]], seed: int) -> dict[str, Any]:
    """Figures of each system, mean over seeds, with intervals over patients; differences to the order by probability.

    Args:
        scores: one a seed: system -> (stays, codes).
    """
    gold = tables.gold
    values: dict[str, list[dict[str, np.ndarray]]] = {
        name: [note_order(gold.places, one[name], ~gold.procedure, gold.principal) for one in scores]
        for name in SYSTEMS
    }
    weights = draw_weights(tables.patients, len(gold.places), DRAWS, seed)
    mean = {name: {f: np.mean([one[f] for one in values[name]], axis=0) for f in FIGURES} for name in SYSTEMS}
    draws = {name: drawn_means(mean[name], weights) for name in SYSTEMS}
    found: dict[str, Any] = {"systems": {}, "minus_probability": {}}
    for name in SYSTEMS:
        per_seed = [order_figures(one) for one in values[name]]
        found["systems"][name] = {
            f: {
                "mean": float(np.nanmean(mean[name][f])),
                "sd": float(np.std([one[f] for one in per_seed], ddof=1)) if len(per_seed) > 1 else None,
                **interval(draws[name][f], scale_of(f)),
            }
            for f in FIGURES
        }
        if name != "probability":
            found["minus_probability"][name] = {
                f: {
                    "difference": float(np.nanmean(mean[name][f]) - np.nanmean(mean["probability"][f])),
                    **interval(draws[name][f] - draws["probability"][f]),
                }
                for f in FIGURES
            }
    return found


def main() -> None:
    parser = parser_of(__doc__, (0, 1, 2), folds=5)
    parser.add_argument("--corpus", type=Path, required=True, help="the demo, prepared with --task mimic3-tables")
    args = arguments(parser)
    tables = Tables.of(load_corpus(args.corpus).notes)
    stays = len(tables.patients)
    scores: dict[str, list[dict[str, np.ndarray]]] = {task: [] for task in TASKS}
    choices: dict[str, dict[str, Counter[str]]] = {task: {} for task in TASKS}
    for seed in args.seeds:
        fold_of = group_folds(tables.patients, args.folds, seed)
        pooled = {task: {name: np.zeros((stays, len(tables.codes))) for name in SYSTEMS} for task in TASKS}
        for fold in range(args.folds):
            test = np.flatnonzero(fold_of == fold)
            found, chosen = run_fold(tables, np.flatnonzero(fold_of != fold), test, seed)
            for task in TASKS:
                for name in SYSTEMS:
                    pooled[task][name][test] = found[task][name]
                for name, choice in chosen[task].items():
                    choices[task].setdefault(name, Counter())[choice] += 1
        for task in TASKS:
            scores[task].append(pooled[task])
    diagnoses, procedures = ((tables.gold.places[:, tables.gold.procedure == kind] > 0) for kind in (False, True))
    result = {
        "seeds": args.seeds,
        "folds": args.folds,
        "draws": DRAWS,
        "stays": stays,
        "patients": len(set(tables.patients)),
        "codes": len(tables.codes),
        "diagnoses_a_stay": round(float(diagnoses.sum() / stays), 2),
        "procedures_a_stay": round(float(procedures.sum() / stays), 2),
        "tasks": {task: measure(tables, scores[task], args.seeds[0]) for task in TASKS},
        "chosen_in_folds": choices,
        "minutes": minutes(),
    }
    finish(args, result, CORPUS=args.corpus)


if __name__ == "__main__":
    main()
