"""How many suggestions to read for an expected recall: what held-out notes bring, and what other ways of reading cost.

    python benchmarks/reading.py --crossed cmc2007 runs/radiology \\
        --set codiesp9-50 runs/bench-codiesp/codiesp9-50 --out benchmarks/results/reading.json

A folder is what `concept-icd run`, `benchmarks/cmc2007.py` or `benchmarks/codiesp.py` leaves: a prepared corpus
(`corpus` or `prepared`) and `scores` of its notes. The heads, the reading depth among them, are fitted again on the
out-of-fold scores of the training notes (of the dev notes, where no training note is scored), and the test notes are
read. The folders of a set are folds: their test notes are pooled, each measured over the codes that its fold knows;
gold codes that it does not know are counted apart.

`--crossed NAME FOLDER` takes a folder whose training notes have out-of-fold scores, as that of
`scripts/build_radiology_coder.py`, and crosses the heads over them in 5 folds: every training note is read by heads
that did not see it. Its own scores are of an adapter that did not see it either; scores that the heads learn from may
be of adapters that did, as in any stacking.

Four ways to decide how many to read, in the same order of the codes: as fitted; the same formula without what was
fitted on held-out notes; the share of the probability mass; and one number for all notes with the same recall found,
chosen on the test notes themselves.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, finish, minutes, parser_of, tell

from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.fitting import Heads
from concept_icd.metrics.intervals import draw_weights, drawn_means, interval
from concept_icd.metrics.ranking import gold_ranks
from concept_icd.metrics.recall_depth import RECALL, TARGETS, expected_recall, note_reading, stops
from concept_icd.pipeline import fit_coder
from concept_icd.records import CodedNote
from concept_icd.report.order import Stops, report_depth
from concept_icd.scoring.scorer import ConceptScores
from concept_icd.scoring.store import load_scores

DRAWS = 2000
FITTED, FORMULA, MASS = "fitted", "at their word", "share of the mass"
#: Heads, probabilities and order of test notes -> the recall expected once each rank is read, (notes, codes).
WAYS: dict[str, Callable[[Heads, np.ndarray, np.ndarray], np.ndarray]] = {
    FITTED: lambda heads, p, order: heads.recall_cutoff.expected_recall(p, order),
    FORMULA: lambda heads, p, order: expected_recall(p, order),
    MASS: lambda heads, p, order: _mass(p, order),
}
FOLDS = 5


def _mass(probabilities: np.ndarray, order: np.ndarray) -> np.ndarray:
    reached = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    return np.asarray(reached / reached[:, -1:])


@dataclass(frozen=True)
class Fold:
    """Test notes of one folder.

    Attributes:
        gold: bool (notes, codes that the coder knows). ranks: of the codes, from 1, of the same shape.
        outside: (notes,) gold codes that the coder does not know. reading: way -> recall asked for -> where to stop.
        fitted_on: notes whose scores the heads were fitted on. calibration: slope and intercept of the reading depth.
    """

    gold: np.ndarray
    ranks: np.ndarray
    outside: np.ndarray
    patients: list[str]
    reading: dict[str, dict[float, Stops]]
    fitted_on: int
    calibration: tuple[float, float]


def read_fold(folder: Path, coder: str | None = None) -> Fold:
    """Reads the scored test notes with heads fitted on the scored training (or dev) notes; or with a coder in there."""
    corpus, scores, scored = _open(folder)
    split = "train" if any(coded.note.note_id in scored for coded in corpus.split("train")) else "dev"
    learnt = [coded for coded in corpus.split(split) if coded.note.note_id in scored]
    test = [coded for coded in corpus.split("test") if coded.note.note_id in scored]
    if coder is None:
        return _read(fit_coder(folder / "scores", learnt, split), scores, test, len(learnt))
    own = ConceptCoder.from_pretrained(folder / coder)
    notes = [coded.note for coded in test]
    return _read(own, own.complete(scores.select([note.note_id for note in notes]), notes), test, len(learnt))


def crossed_folds(folder: Path, seed: int) -> Iterator[Fold]:
    """The training notes of a folder, each read by heads that did not see it."""
    corpus, scores, scored = _open(folder)
    notes = [coded for coded in corpus.split("train") if coded.note.note_id in scored]
    fold_of = group_folds([coded.note.patient_id or coded.note.note_id for coded in notes], FOLDS, seed)
    for fold in range(FOLDS):
        learnt = [coded for coded, own in zip(notes, fold_of, strict=True) if own != fold]
        test = [coded for coded, own in zip(notes, fold_of, strict=True) if own == fold]
        yield _read(fit_coder(folder / "scores", learnt, "train"), scores, test, len(learnt))


def _open(folder: Path) -> tuple[Corpus, ConceptScores, set[str]]:
    """Corpus, scores, and the ids of the scored notes."""
    corpus = load_corpus(next(path for path in (folder / "corpus", folder / "prepared") if path.is_dir()))
    scores = load_scores(folder / "scores")
    return corpus, scores, set(scores.note_ids)


def _read(coder: ConceptCoder, scores: ConceptScores, test: list[CodedNote], fitted_on: int) -> Fold:
    """What each way says of test notes."""
    heads, chosen = coder.heads, scores.select([coded.note.note_id for coded in test])
    p = coder.predict_proba(chosen)
    order = coder.rank(chosen, p, notes=[coded.note for coded in test])
    ranks = np.empty(order.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None, :], axis=1)
    gold, _ = gold_matrix([coded.note.note_id for coded in test], test, heads.codes)
    reading = {}
    for way, expect in WAYS.items():
        expected = expect(heads, p, order)
        reading[way] = {recall: stops(expected, recall) for recall in TARGETS}
    return Fold(
        gold,
        ranks,
        np.array([len(coded.codes) for coded in test]) - gold.sum(axis=1),
        [coded.note.patient_id or coded.note.note_id for coded in test],
        reading,
        fitted_on,
        (heads.recall_cutoff.calibration.slope, heads.recall_cutoff.calibration.intercept),
    )


def measure(folds: list[Fold], seed: int) -> dict[str, Any]:
    """Figures of a set, its folds pooled."""
    width = max(fold.gold.shape[1] for fold in folds)
    gold = np.vstack([np.pad(fold.gold, ((0, 0), (0, width - fold.gold.shape[1]))) for fold in folds])
    order = np.vstack(
        [np.pad(-fold.ranks, ((0, 0), (0, width - fold.ranks.shape[1])), constant_values=-width - 1) for fold in folds]
    ).astype(np.float64)
    outside = np.concatenate([fold.outside for fold in folds])
    patients = [patient for fold in folds for patient in fold.patients]
    weights = draw_weights(patients, len(gold), DRAWS, seed)
    pooled = {
        way: {
            recall: tuple(np.concatenate([fold.reading[way][recall][part] for fold in folds]) for part in (0, 1))
            for recall in TARGETS
        }
        for way in WAYS
    }
    ways, notes = {}, {}
    for way, reading in pooled.items():
        found = report_depth(gold, np.zeros(gold.shape), order, reading, weights)
        ways[way], notes[way] = found.rows, found.notes
    difference = {
        way: {
            name: {"difference": float(np.nanmean(values))} | interval(drawn_means({"": values}, weights)[""])
            for name in ("reading_depth_at_90", "reading_recall_at_90")
            for values in [notes[FITTED][name] - notes[way][name]]
        }
        for way in WAYS
        if way != FITTED
    }
    depth, expected = pooled[FITTED][RECALL]
    return {
        "notes": len(gold),
        "patients": len(set(patients)),
        "notes_with_gold": int(gold.any(axis=1).sum()),
        "codes": [fold.gold.shape[1] for fold in folds],
        "gold_labels": int(gold.sum()),
        "gold_labels_outside": int(outside.sum()),
        "heads_fitted_on": [fold.fitted_on for fold in folds],
        "calibration": [fold.calibration for fold in folds],
        "ways": ways,
        "fitted_less_other_ways": difference,
        "by_depth": _by_depth(gold, order, depth, expected, weights),
        "recall_of_all_gold_at_90": _of_all_gold(gold, order, depth, outside),
    }


def _by_depth(
    gold: np.ndarray, order: np.ndarray, depth: np.ndarray, expected: np.ndarray, weights: np.ndarray
) -> list[dict[str, Any]]:
    """The same at 90 % for the third of the notes with the fewest suggestions to read, the middle and the most."""
    values = note_reading(gold_ranks(gold, order), depth, expected, RECALL)
    with_gold = np.flatnonzero(gold.any(axis=1))
    rows = []
    for part in np.array_split(with_gold[np.argsort(depth[with_gold], kind="stable")], 3):
        own = np.isin(np.arange(len(gold)), part)
        drawn = drawn_means({"recall": np.where(own, values["reading_recall"], np.nan)}, weights)["recall"]
        rows.append(
            {
                "notes": len(part),
                "depths": [int(depth[part].min()), int(depth[part].max())],
                **{name: float(value[part].mean()) for name, value in values.items()},
                "recall_interval": interval(drawn, "share"),
            }
        )
    return rows


def _of_all_gold(gold: np.ndarray, order: np.ndarray, depth: np.ndarray, outside: np.ndarray) -> float:
    """Mean recall where gold codes that the coder does not know count as missed."""
    hits = (gold & (-order <= depth[:, None])).sum(axis=1)
    every = gold.sum(axis=1) + outside
    return float((hits[every > 0] / every[every > 0]).mean())


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar=("NAME", "FOLDER"))
    parser.add_argument("--crossed", nargs=2, action="append", default=[], metavar=("NAME", "FOLDER"))
    args = arguments(parser)
    if not (args.crossed or args.set):
        parser.error("name at least one folder with --crossed or --set")
    sets = {}
    crossed = [(name, crossed_folds(Path(folder), args.seed)) for name, folder in args.crossed]
    for name, folds in [*crossed, *((name, map(read_fold, map(Path, folders))) for name, *folders in args.set)]:
        sets[name] = measure(list(folds), args.seed)
        for way, rows in sets[name]["ways"].items():
            row = next(row for row in rows if row["asked"] == RECALL)
            figures = {figure: round(row[figure], 3) for figure in ("expected", "recall", "depth", "fixed_depth")}
            tell(name, way, figures)
    shown = [word for name, _ in args.crossed for word in ("--crossed", name, "FOLDER")]
    shown += [word for name, *folders in args.set for word in ("--set", name, *["FOLDER"] * len(folders))]
    result = {
        "command": shlex.join(["python", "benchmarks/reading.py", *shown, "--seed", str(args.seed)]),
        "minutes": minutes(),
        "draws": DRAWS,
        "sets": sets,
    }
    finish(args, result)


if __name__ == "__main__":
    main()
