"""Notes unlike the training notes: can they be told from held-out reports, and are reports that look so coded worse?

    python benchmarks/familiarity.py --work RUNS --data-dir DATA --out benchmarks/results/familiarity.json

RUNS is what `benchmarks/cmc2007.py` leaves; the folds of it that are complete are used, with heads fitted again on the
out-of-fold concept scores of their training reports; what a fold's coder of all views flags is measured beside them. A
fold's model scores notes from elsewhere (DATA holds codiesp and open_medical_text): 200 Spanish cases in English, 150
sections of clinic notes, 50 whole clinic notes, 100 texts of words drawn from the cases, and 100 of words drawn from
the training reports, both as long as a report. They are compared with the fold's held-out reports:

    shipped         mean standardised score and expected number of codes (`heads.novelty`)
    scores          all concept scores, Ledoit and Wolf's shrunken covariance
    directions      their first 16 principal directions, and what is left as one variance
    each score      the sum of squares of the standardised scores (no covariance)
    mean score      the mean standardised score alone, both ways
    probability     one minus the largest probability
    entropy         of all codes' probabilities, summed

AUC of telling notes from elsewhere (larger is more unlike), and the shares beyond the 95th and 99th percentile of the
training reports, each measured by what was fitted without its fold. The half of the notes from elsewhere named
"choose", and the out-of-fold training reports, were looked at when the measure and the 5 % were chosen; figures are of
the other half.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from calibration import complete
from cmc2007 import STACKED
from common import arguments, finish, parser_of, tell
from scipy.special import entr
from sklearn.covariance import LedoitWolf

from concept_icd import metrics
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.aggregator import fit_aggregators
from concept_icd.heads.fitting import HeadOptions, folds_of
from concept_icd.heads.novelty import NOVEL, fit_novelty, numbers_of
from concept_icd.metrics.intervals import draw_weights, interval
from concept_icd.pipeline import fit_coder
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.scorer import ConceptScores
from concept_icd.scoring.store import load_scores

DRAWS = 2000
DIRECTIONS = 16
#: Standardised scores and probabilities of notes -> how unlike each is; made from those of the training notes.
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fit_shipped(x: np.ndarray, p: np.ndarray) -> Measure:
    found = fit_novelty(_numbers(x, p))
    return lambda x, p: found.distances_of(_numbers(x, p))


def _numbers(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.stack([x.mean(axis=1), np.log(p.sum(axis=1))], axis=1)


def fit_scores(x: np.ndarray, p: np.ndarray) -> Measure:
    found = LedoitWolf().fit(x)
    return lambda x, p: found.mahalanobis(x)


def fit_directions(x: np.ndarray, p: np.ndarray) -> Measure:
    middle = x.mean(axis=0)
    _, length, directions = np.linalg.svd(x - middle, full_matrices=False)
    variance, directions = length**2 / len(x), directions[:DIRECTIONS]
    rest = variance[DIRECTIONS:].sum() / (x.shape[1] - DIRECTIONS)

    def distance(x: np.ndarray, p: np.ndarray) -> np.ndarray:
        along = (x - middle) @ directions.T
        inside = (along**2 / variance[:DIRECTIONS]).sum(axis=1)
        return inside + (((x - middle) ** 2).sum(axis=1) - (along**2).sum(axis=1)) / rest

    return distance


def fit_mean(x: np.ndarray, p: np.ndarray) -> Measure:
    middle = x.mean()
    return lambda x, p: np.abs(x.mean(axis=1) - middle)


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], Measure]] = {
    "shipped": fit_shipped,
    "scores": fit_scores,
    "directions": fit_directions,
    "each score": lambda x, p: lambda x, p: (x**2).sum(axis=1),
    "mean score": fit_mean,
    "probability": lambda x, p: lambda x, p: 1 - p.max(axis=1),
    "entropy": lambda x, p: lambda x, p: (entr(p) + entr(1 - p)).sum(axis=1),
}


def elsewhere(data: Path, reports: list[str], rng: random.Random, most: int | None) -> dict[str, list[Note]]:
    """Notes of other kinds, by name; `most` bounds those of each."""

    def rows(*place: str) -> Iterator[dict[str, Any]]:
        with gzip.open(data.joinpath(*place), "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)

    sections = [row["text"] for row in rows("open_medical_text", "mts_dialog_notes.jsonl.gz")]
    notes = [row["text"] for row in rows("open_medical_text", "aci_bench_notes.jsonl.gz")]
    cases = rng.sample([row["text_en"] for row in rows("codiesp", "train.jsonl.gz")], 200)
    lengths = [len(text.split()) for text in reports]

    def disordered(texts: list[str]) -> list[str]:
        words = [word for text in texts for word in text.split()]
        return [" ".join(rng.choices(words, k=rng.choice(lengths))) for _ in range(100)]

    texts = {
        "cases": cases,
        "clinic sections": rng.sample([text for text in sections if len(text.split()) >= 8], 150),
        "clinic notes": rng.sample(notes, 50),
        "words of cases": disordered(cases),
        "words of reports": disordered(reports),
    }
    return {kind: [Note(str(place), text) for place, text in enumerate(own[:most])] for kind, own in texts.items()}


def measure_fold(folder: Path, data: Path, seed: int, most: int | None) -> dict[str, Any]:
    """Figures of one fold."""
    corpus, scores = load_corpus(folder / "corpus"), load_scores(folder / "scores")
    train, test = corpus.split("train"), corpus.split("test")
    coder = fit_coder(folder / "scores", train, "train")
    heads = coder.heads
    own = scores.select([coded.note.note_id for coded in train]).logits
    new = scores.select([coded.note.note_id for coded in test]).logits
    gold, patients = gold_matrix([coded.note.note_id for coded in train], train, coder.concepts.codes)
    gold, fold = gold.astype(bool), folds_of(patients, HeadOptions())
    known = _known(coder, own, gold, fold)
    x, p = heads.aggregator.standardise(new), heads.predict_proba(new)
    assert np.allclose(_numbers(x, p), numbers_of(heads.aggregator, new, p))

    other_notes = elsewhere(data, [coded.note.text for coded in train], random.Random(seed), most)
    others = {}
    for kind, notes in other_notes.items():
        logits = coder.scorer.score(notes, coder.asked).logits
        others[kind] = heads.aggregator.standardise(logits), heads.predict_proba(logits)
    result: dict[str, Any] = {"reports": len(test), "training_reports": len(train), "measures": {}}
    for name, fit in MEASURES.items():
        training = np.empty(len(own))
        for part in np.unique(fold):
            rows = fold == part
            training[rows] = fit(known[0][~rows], known[1][~rows])(known[0][rows], known[1][rows])
        measure = fit(*known)
        held_out = measure(x, p)
        cuts = {str(share): np.quantile(training, 1 - share, method="higher") for share in (0.05, 0.01)}
        row = {"held_out": {share: float((held_out > cut).mean()) for share, cut in cuts.items()}}
        for kind, features in others.items():
            values = measure(*features)
            for half, part in (("choose", values[::2]), ("report", values[1::2])):
                row[f"{kind}, {half}"] = {
                    "notes": len(part),
                    "auc": auc(held_out, part),
                    **{share: float((part > cut).mean()) for share, cut in cuts.items()},
                }
        result["measures"][name] = row
    shares = heads.novelty_p_values(new, p)
    truth = gold_matrix([coded.note.note_id for coded in test], test, coder.concepts.codes)[0].astype(bool)
    result["stacked"], counts = flagged_stacked(folder, scores, test, truth, other_notes)
    result["counts"] = {
        "stacked": counts,
        "training": _counts(heads.novelty.p_values(_numbers(*known)), gold, heads.threshold.accept(known[1])),
        "held_out": _counts(shares, truth, heads.threshold.accept(p)),
    }
    return result


def flagged_stacked(
    folder: Path,
    scores: ConceptScores,
    test: list[CodedNote],
    gold: np.ndarray,
    others: dict[str, list[Note]],
) -> tuple[dict[str, Any], dict[str, list[list[int]]]]:
    """What the fold's coder of all views flags: shares by kind of note, and `_counts` of the held-out reports."""
    coder = ConceptCoder.from_pretrained(folder / STACKED)

    def flagged(scored: ConceptScores, notes: list[Note]) -> tuple[np.ndarray, np.ndarray]:
        """How familiar each note is, and what of it is accepted."""
        logits = coder.complete(scored, notes).logits
        p = coder.heads.predict_proba(logits)
        return coder.heads.novelty_p_values(logits, p), coder.heads.threshold.accept(p)

    shares, accepted = flagged(scores.select([coded.note.note_id for coded in test]), [coded.note for coded in test])
    found: dict[str, Any] = {"held_out": float((shares <= NOVEL).mean())}
    for kind, notes in others.items():
        chosen = flagged(coder.scorer.score(notes, coder.asked), notes)[0][1::2]
        found[f"{kind}, report"] = {"notes": len(chosen), "flagged": float((chosen <= NOVEL).mean())}
    return found, _counts(shares, gold, accepted)


def _known(coder: ConceptCoder, own: np.ndarray, gold: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised scores and out-of-fold probabilities of the training notes, as in `fit_heads`."""
    heads, levels = coder.heads, [concept.level for concept in coder.concepts.concepts]
    p = np.empty(gold.shape)
    for part in np.unique(fold):
        rows = np.flatnonzero(fold != part)
        [found] = fit_aggregators(own, gold, coder.concepts.cover, levels, [heads.strength], rows=rows, quick=True)
        p[fold == part] = heads.calibration.probabilities(found.log_odds(own[fold == part]))
    return heads.aggregator.standardise(own), p


def auc(held_out: np.ndarray, elsewhere: np.ndarray) -> float:
    """Of telling notes from elsewhere, which are larger; of the ranks of all values, in 0..1."""
    values = np.concatenate([held_out, elsewhere])
    ranks = np.searchsorted(np.sort(values), values) / len(values)
    gold = np.repeat([0, 1], [len(held_out), len(elsewhere)])
    return metrics.area_metrics(gold[:, None], ranks[:, None])["micro_auc"]


def _counts(shares: np.ndarray, gold: np.ndarray, accepted: np.ndarray) -> dict[str, list[list[int]]]:
    """Of each note in two groups: right, accepted and gold codes."""
    rows = np.stack([(accepted & gold).sum(1), accepted.sum(1), gold.sum(1)], axis=1)
    apart = shares <= NOVEL
    return {"unfamiliar": rows[apart].tolist(), "familiar": rows[~apart].tolist()}


def pool(folds: list[dict[str, list[list[int]]]], seed: int) -> dict[str, Any]:
    """Micro-F1 of the notes flagged and of the others, and the difference, with intervals over notes.

    Args:
        folds: of each what `_counts` gave.
    """
    groups = {
        name: np.array([row for fold in folds for row in fold[name]], dtype=np.float64).reshape(-1, 3)
        for name in ("unfamiliar", "familiar")
    }
    flagged = np.repeat([True, False], [len(rows) for rows in groups.values()])
    counts = np.vstack(list(groups.values()))
    weights = draw_weights(None, len(counts), DRAWS, seed)

    def f1(table: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray(2 * table[..., 0] / (table[..., 1] + table[..., 2]))

    drawn = {name: f1((weights * own) @ counts) for name, own in (("unfamiliar", flagged), ("familiar", ~flagged))}
    found = {
        name: {
            "notes": len(rows),
            "gold": int(rows[:, 2].sum()),
            "accepted": int(rows[:, 1].sum()),
            "micro_f1": float(f1(rows.sum(axis=0))),
        }
        | {"interval": interval(drawn[name], "share")}
        for name, rows in groups.items()
    }
    value = found["unfamiliar"]["micro_f1"] - found["familiar"]["micro_f1"]
    difference = {"value": value} | interval(drawn["unfamiliar"] - drawn["familiar"])
    return found | {"difference": difference}


def main() -> None:
    parser = parser_of(__doc__, data=True, work="runs/bench-cmc2007")
    parser.add_argument("--most", type=int, help="notes of each kind from elsewhere, for a trial")
    args = arguments(parser)
    folders = complete(args.work, STACKED)
    if not folders:
        parser.error(f"{args.work} has no complete fold: run benchmarks/cmc2007.py first")
    folds = {}
    for folder in folders:
        folds[folder.name] = measure_fold(folder, args.data_dir, args.seed, args.most)
        for name, row in folds[folder.name]["measures"].items():
            aucs = {kind: round(found["auc"], 3) for kind, found in row.items() if kind.endswith("report")}
            tell(folder.name, name, aucs)
    own = [fold for name, fold in folds.items() if name.startswith("seed-0-")]  # each report once
    result = {
        "unfamiliar": NOVEL,
        "coded": {which: pool([f["counts"][which] for f in own], args.seed) for which in ("training", "held_out")},
        "coded_stacked": pool([f["counts"]["stacked"] for f in own], args.seed),
        "folds": {name: {k: v for k, v in fold.items() if k != "counts"} for name, fold in folds.items()},
    }
    finish(args, result, RUNS=args.work, DATA=args.data_dir)


if __name__ == "__main__":
    main()
