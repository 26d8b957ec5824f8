"""The metrics at MIMIC-III-full's size against scikit-learn's calls for the same figures: seconds, memory, same values.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py --out benchmarks/results/evaluation.json

Generated: 3,372 notes x 8,922 codes of a long tail, 15.9 gold codes a note; probabilities of four decimals, so that
most pairs tie near 0. The order of the codes is measured on the unrounded scores: where a note's codes tie,
scikit-learn's ranking metrics follow other conventions. Each figure that scikit-learn has is asked of both in the same
run and must be the same; where scikit-learn offers several ways, it gets the fastest. What it has not, or bins
otherwise (precision and recall at k, rank errors, calibration errors), counts in our seconds all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics as sk
from common import arguments, finish, machine, parser_of, peak_bytes, tell, timed

from concept_icd import metrics
from concept_icd.report import EvaluationInputs, evaluate

Figures = dict[str, float]
TOLERANCE = 1e-9
THRESHOLD = 0.5


def generate(notes: int, codes: int, labels_per_note: float, seed: int) -> tuple[Any, Any, Any, list[int]]:
    """Gold, probabilities, the scores behind them (notes, codes), and the patient of each note."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, codes + 1)
    share = np.minimum(share / share.sum() * labels_per_note, 0.4)
    share = random.permutation(share * labels_per_note / share.sum())
    gold = random.random((notes, codes)) < share
    scores = random.normal(np.log(share), 1.5, (notes, codes)) + 4 * gold
    patients = random.integers(0, max(1, notes * 4 // 5), notes).tolist()
    return gold, np.round(1 / (1 + np.exp(-scores)), 4), scores, patients


def sklearn_decisions(gold: Any, accepted: Any) -> Figures:
    found = {}
    for average in ("micro", "macro"):
        scores = sk.precision_recall_fscore_support(gold, accepted, average=average, zero_division=0)
        found |= {f"{average}_{name}": scores[place] for place, name in enumerate(("precision", "recall", "f1"))}
    present = np.flatnonzero(gold.any(axis=0))
    found["macro_f1_present"] = sk.f1_score(gold, accepted, labels=present, average="macro", zero_division=0)
    found["exact_match"] = sk.accuracy_score(gold, accepted)
    return found


def sklearn_areas(gold: Any, probabilities: Any) -> Figures:
    flat = (gold.ravel(), probabilities.ravel())
    present = gold.any(axis=0)
    # Laid out by note: of any other layout, average="macro" copies the whole matrix once per code (minutes).
    kept = [np.ascontiguousarray(matrix[:, present]) for matrix in (gold, probabilities)]
    columns = zip(*(np.ascontiguousarray(matrix.T) for matrix in kept), strict=True)
    return {
        "micro_auc": sk.roc_auc_score(*flat),
        "macro_auc": sk.roc_auc_score(*kept, average="macro"),
        "micro_average_precision": sk.average_precision_score(*flat),
        "macro_average_precision": sk.average_precision_score(*kept, average="macro"),
        "micro_auprc": trapezoid(*flat),
        "macro_auprc": float(np.mean([trapezoid(*column) for column in columns])),
    }


def trapezoid(gold: Any, probabilities: Any) -> float:
    """The area under the precision-recall curve with straight lines between its points."""
    precision, recall, _ = sk.precision_recall_curve(gold, probabilities)
    return float(sk.auc(recall, precision))


def sklearn_ranking(gold: Any, scores: Any) -> Figures:
    kept = gold.any(axis=1)
    gold, scores = gold[kept], scores[kept]
    found = {f"ndcg_at_{k}": sk.ndcg_score(gold, scores, k=k, ignore_ties=True) for k in (5, 8, 15)}
    found["ndcg"] = sk.ndcg_score(gold, scores, ignore_ties=True)
    found["map"] = sk.label_ranking_average_precision_score(gold, scores)
    found["coverage"] = sk.coverage_error(gold, scores)
    return found


def sklearn_calibration(gold: Any, probabilities: Any) -> Figures:
    truth, values = gold.ravel(), probabilities.ravel()
    above = values > 0.01
    return {
        "brier": sk.brier_score_loss(truth, values),
        "brier_above_1_percent": sk.brier_score_loss(truth[above], values[above]),
    }


def our_ranking(gold: Any, scores: Any) -> Figures:
    interpolated = metrics.rank_errors_at_recall(gold, scores, mode="interp")
    return metrics.ranking_metrics(gold, scores) | {f"{name}_interp": value for name, value in interpolated.items()}


def compare(gold: Any, probabilities: Any, scores: Any) -> dict[str, dict[str, Any]]:
    """Seconds of both for each group of figures; stops where a figure differs."""
    accepted = probabilities >= THRESHOLD
    groups: dict[str, tuple[Any, Callable[..., Figures], Callable[..., Figures]]] = {
        "accepted codes": (accepted, metrics.decision_metrics, sklearn_decisions),
        "areas": (probabilities, metrics.area_metrics, sklearn_areas),
        "order of the codes": (scores, our_ranking, sklearn_ranking),
        "calibration": (probabilities, metrics.calibration_metrics, sklearn_calibration),
    }
    found = {}
    for name, (values, ours, theirs) in groups.items():
        our_seconds, figures = timed(ours, gold, values)
        their_seconds, expected = timed(theirs, gold, values)
        gap = max(abs(figures[figure] - value) for figure, value in expected.items())
        tell(f"{name}: {our_seconds:.2f} s, scikit-learn {their_seconds:.1f} s")
        if not gap <= TOLERANCE:
            raise SystemExit(f"{name}: differs from scikit-learn by {gap:.1e}")
        found[name] = {
            "seconds": round(our_seconds, 4),
            "figures": len(figures),
            "sklearn_seconds": round(their_seconds, 4),
            "sklearn_figures": len(expected),
            "largest_gap": gap,
        }
    return found


def evaluation(sizes: tuple[int, int, float, int], draws: int) -> Callable[[], Any]:
    """Makes the matrices; the function returned is all that `concept-icd evaluate` measures of them."""
    gold, probabilities, scores, patients = generate(*sizes)
    names = [[f"{kind}{n}" for n in range(size)] for kind, size in zip(("code", "note"), gold.shape[::-1], strict=True)]
    given = EvaluationInputs(gold, probabilities, *names, patients=patients, scores=scores)
    return functools.partial(evaluate, given, draws=draws)


def main() -> None:
    args = arguments(parser_of(__doc__, notes=3372, codes=8922, labels_per_note=15.9, draws=1000))
    sizes = (args.notes, args.codes, args.labels_per_note, args.seed)
    gold, probabilities, scores, patients = generate(*sizes)
    groups = compare(gold, probabilities, scores)
    accepted = probabilities >= THRESHOLD
    resample = functools.partial(metrics.headline_intervals, gold, probabilities, accepted, scores, patients)
    intervals_seconds, intervals = timed(functools.partial(resample, draws=args.draws, seed=args.seed))
    whole_seconds, _ = timed(evaluation(sizes, args.draws))
    seconds, sklearn_seconds = (
        round(sum(group[key] for group in groups.values()), 2) for key in ("seconds", "sklearn_seconds")
    )
    result = {
        "machine": machine("float64"),
        "notes": args.notes,
        "codes": args.codes,
        "labels_per_note": round(float(gold.sum(axis=1).mean()), 2),
        "codes_present": int(gold.any(axis=0).sum()),
        "distinct_probabilities": int(np.unique(probabilities).size),
        "groups": groups,
        "seconds": seconds,
        "sklearn_seconds": sklearn_seconds,
        "speed_up": round(sklearn_seconds / seconds, 1),
        "draws": args.draws,
        "intervals": len(intervals),
        "fewest_draws_of_an_interval": min(int(interval["draws"]) for interval in intervals.values()),
        "intervals_seconds": round(intervals_seconds, 2),
        "evaluate_seconds": round(whole_seconds, 2),
        "matrix_bytes": gold.nbytes + probabilities.nbytes + scores.nbytes,
        "peak_bytes_above_matrices": peak_bytes(evaluation, sizes, args.draws),
    }
    finish(args, result)


if __name__ == "__main__":
    main()
