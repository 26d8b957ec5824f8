"""Everything that is said about one set of predictions: figures, n, intervals, where the threshold came from.

`evaluate` is the one place where predictions are measured. It knows matrices and names, and nothing of models, files or
pages. `coder.evaluation` calls it with what a coder says of the notes of a split, `cli.evaluate` with what stands in
somebody's files. No note and no patient can be found in the results: figures are sums over notes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from concept_icd import metrics
from concept_icd.artifacts import git_commit, hash_of, versions
from concept_icd.metrics.decisions import check_decisions
from concept_icd.metrics.inputs import Bools, Floats
from concept_icd.metrics.intervals import draw_weights, drawn_decisions, drawn_means, intervals_of
from concept_icd.metrics.ranking import RECALLS, gold_ranks, note_rank_errors, note_ranking
from concept_icd.progress import progress_bar
from concept_icd.records import Kind, OneLine
from concept_icd.report.definitions import DEFINITIONS
from concept_icd.report.order import Stops, bounds, frequencies, report_depth, report_order

KS = (5, 8, 15)
#: What is also given over the codes with a gold example alone.
FILTERED = (
    *("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_f1_present", "macro_f1_caml", "exact_match"),
    *("r_precision", "map", *(f"{name}_at_{k}" for name in ("precision", "recall") for k in KS)),
)
#: Recalls of the rank-error curve, in percent.
CURVE = tuple(range(5, 101, 5))
NOT_RANKED = "nothing: decisions without probabilities have no areas, no ranks and no calibration"
IN_SAMPLE = (
    "IN-SAMPLE: the coder's heads were fitted on scores of notes that the scorer was tuned on; not comparable with "
    "results from out-of-fold scores"
)
#: Cells times samples from which the intervals take more than a second or so.
LONG = 10**9


@dataclass(frozen=True, repr=False)
class Results(OneLine):
    """What `results.json` holds.

    Attributes:
        figures: metric -> value. intervals: metric -> {"low", "high", "draws"}, 95 %.
        counts: notes, notes_with_gold, patients (None: not known), codes, codes_present, gold_labels, accepted_labels.
        threshold: None where the decisions came with the predictions. threshold_source, label_set, ranked_by: in words.
        filtered, filtered_intervals: the figures of `FILTERED` over the codes that have a gold example in these notes,
            as Edin et al. 2023 give them; empty where no code has one.
        stamps: sentences that belong beside every figure, such as that a coder was fitted on in-sample scores.
        resampled: what the intervals leave out in turn, "patients" or "notes". seed: of the intervals.
        notes_hash: tells whether two results share notes.
        codes: one row per code: code, title, train_count, gold, tp, fp, fn, precision, recall, f1.
        curves: points of the plots. extra: what the caller adds; "levels", "systems" and "published" are shown as
            tables.
        inputs: name -> SHA-256. versions, git_commit, command: what made it.
    """

    figures: dict[str, float]
    intervals: dict[str, dict[str, float]]
    counts: dict[str, int | None]
    threshold: float | None
    threshold_source: str
    label_set: str
    ranked_by: str
    resampled: str
    seed: int
    notes_hash: str
    codes: list[dict[str, Any]]
    curves: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    git_commit: str | None = field(default_factory=git_commit)
    command: str | None = None
    stamps: list[str] = field(default_factory=list)
    filtered: dict[str, float] = field(default_factory=dict)
    filtered_intervals: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Results:
        """What `to_dict` gave, read again; figures without a value are None then, not NaN."""
        own = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in own})

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: NaN and infinity become null; `definitions` says what each figure is."""
        found: dict[str, Any] = plain(dataclasses.asdict(self))
        found["definitions"] = {
            name: text for group in DEFINITIONS.values() for name, text in group.items() if name in self.figures
        }
        return found


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationInputs(OneLine):
    """Predictions and gold codes of the same notes over the same label set, and what is known of both.

    Attributes:
        gold: 0/1 (notes, codes). probabilities: (notes, codes) in 0..1, or None for decisions without them: what needs
            an order or a probability is then left out. codes: dotted, the columns. note_ids: the rows.
        patients: (notes,) whom each note is about; intervals resample them. None resamples notes.
        scores: the order of the codes, where it is not that of the probabilities (a learned ranker).
        decisions: 0/1 (notes, codes), the accepted codes. None accepts at p >= `threshold` (.5 where that is None).
        threshold_source: where the threshold or the decisions came from; required with either of them.
        places, principal: the billing order and the principal diagnoses of the gold, as `corpora.gold.gold_places`
            gives them; None: the gold is sets, and no figure of the billing order is given. kinds: (codes,), required
            with places.
        depths: recall asked for -> how far each note is read for it, and the recall expected there, (notes,) each, as
            `metrics.recall_depth.stops` gives them; None: the probabilities are taken at their word.
        label_set: in words, where the codes came from. train_counts: code -> training notes that have it.
        titles: code -> title.
        extra: "levels" (from `level_metrics`), "systems" (name -> figures of another system or bound on the same
            notes), "published" (`Comparison.to_dict`), "coder" (its versions, which say whether it was fitted on
            in-sample scores), "code_checks" (sentences on gold codes that cannot be billed); any other key is stored
            as it is.
        inputs: name -> SHA-256 of what was read. command: what was called.
    """

    gold: ArrayLike
    probabilities: ArrayLike | None
    codes: Sequence[str]
    note_ids: Sequence[str]
    patients: Sequence[Hashable] | None = None
    scores: ArrayLike | None = None
    decisions: ArrayLike | None = None
    threshold: float | None = None
    threshold_source: str | None = None
    label_set: str | None = None
    places: ArrayLike | None = None
    principal: ArrayLike | None = None
    depths: Mapping[float, Stops] | None = None
    kinds: Sequence[Kind] | None = None
    train_counts: Mapping[str, int] | None = None
    titles: Mapping[str, str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


def evaluate(given: EvaluationInputs, *, draws: int = 1000, seed: int = 0) -> Results:
    """Measures predictions: every figure with its interval, the curves, and a row for each code.

    Args:
        draws: most samples of the intervals (`metrics.intervals`); 0 gives no intervals. seed: of the intervals.

    Raises:
        ValueError: matrices that are no such matrices, names that do not fit them, a threshold without its source,
            neither probabilities nor decisions, places that are not the gold's or come without kinds.

    >>> given = EvaluationInputs([[1, 0], [0, 1]], [[0.9, 0.2], [0.6, 0.3]], ["401.9", "428.0"], ["a", "b"])
    >>> results = evaluate(given, draws=0)
    >>> results.figures["micro_recall"], results.threshold_source
    (0.5, 'default .5, not tuned')
    """
    matrices = _checked(given)
    weights = draw_weights(given.patients, len(matrices.gold), draws, seed) if draws else None
    parts = [_codes_and_ranks(given, matrices, draws, seed)]
    if given.probabilities is not None:
        parts.append(_reading_depth(given, matrices, weights))
        if given.places is not None and given.kinds is not None:
            parts.append(_billing_order(given, given.places, given.kinds, matrices, weights))
    figures = {name: value for part in parts for name, value in part.figures.items()}
    intervals = {name: band for part in parts for name, band in part.intervals.items() if name in figures}
    filtered, filtered_intervals = _filtered(given, matrices, weights)
    ranked_by = "probability" if given.scores is None else "the predictions' own ranks"
    threshold = 0.5 if given.threshold is None else given.threshold
    return Results(
        figures=figures,
        intervals=intervals,
        counts={
            "notes": len(given.note_ids),
            "notes_with_gold": int(matrices.gold.any(axis=1).sum()),
            "patients": None if given.patients is None else len(set(given.patients)),
            "codes": len(given.codes),
            "codes_present": int(matrices.gold.any(axis=0).sum()),
            "gold_labels": int(matrices.gold.sum()),
            "accepted_labels": int(matrices.accepted.sum()),
        },
        threshold=threshold if given.decisions is None else given.threshold,
        threshold_source=given.threshold_source or "default .5, not tuned",
        label_set=given.label_set or f"{len(given.codes)} codes, as given",
        ranked_by=NOT_RANKED if given.probabilities is None else ranked_by,
        resampled="notes" if given.patients is None else "patients",
        seed=seed,
        notes_hash=hash_of(sorted(given.note_ids)),
        codes=_code_rows(given, matrices),
        curves={name: points for part in parts for name, points in part.curves.items()},
        extra=dict(given.extra),
        inputs=dict(given.inputs),
        command=given.command,
        stamps=_stamps(given.extra),
        filtered=filtered,
        filtered_intervals=filtered_intervals,
    )


class _Matrices(NamedTuple):
    """What is measured, (notes, codes) each; `values` are the decisions where there are no probabilities."""

    gold: Bools
    values: Floats
    accepted: Bools
    order: Floats


class _Part(NamedTuple):
    """What one step of the evaluation finds."""

    figures: dict[str, float]
    intervals: dict[str, dict[str, float]]
    curves: dict[str, Any]


def _checked(given: EvaluationInputs) -> _Matrices:
    """The matrices; raises as `evaluate` says."""
    soft = given.decisions if given.probabilities is None else given.probabilities
    if soft is None:
        raise ValueError("without probabilities there must be decisions")
    gold, values = metrics.check_pair(given.gold, np.asarray(soft), probabilities=True)
    notes, codes = given.note_ids, given.codes
    if gold.shape != (len(notes), len(codes)):
        raise ValueError(f"gold has shape {gold.shape}, but there are {len(notes)} notes and {len(codes)} codes")
    if len(set(notes)) < len(notes) or len(set(codes)) < len(codes):
        raise ValueError("note_ids and codes must each be without repeats")
    if (given.decisions is not None or given.threshold is not None) and not given.threshold_source:
        raise ValueError("threshold_source must say where the threshold or the decisions came from")
    if given.places is not None and (given.kinds is None or not np.array_equal(np.asarray(given.places) > 0, gold)):
        raise ValueError("places are those of the gold codes, and come with the kinds of the codes")
    threshold = 0.5 if given.threshold is None else given.threshold
    gold, accepted = check_decisions(gold, values >= threshold if given.decisions is None else given.decisions)
    order = values if given.scores is None else np.asarray(given.scores, dtype=np.float64)
    return _Matrices(gold, values, accepted, order)


def _codes_and_ranks(given: EvaluationInputs, matrices: _Matrices, draws: int, seed: int) -> _Part:
    """The accepted codes; and with probabilities the areas, the order of the codes and the calibration."""
    gold, values, accepted, order = matrices
    figures = metrics.decision_metrics(gold, accepted)
    intervals = _headline_intervals(given, matrices, draws, seed) if draws else {}
    if given.probabilities is None:
        return _Part(figures, intervals, {})
    figures |= metrics.area_metrics(gold, values) | metrics.ranking_metrics(gold, order, KS)
    interpolated = metrics.rank_errors_at_recall(gold, order, mode="interp")
    figures |= {_interp(name): value for name, value in interpolated.items()}
    figures |= metrics.calibration_metrics(gold, values)
    recall, precision = metrics.precision_recall_curve(gold, values)
    bins = metrics.equal_width_bins(gold.ravel(), values.ravel(), 10)
    step = metrics.rank_errors_at_recall(gold, order, CURVE)
    interp = metrics.rank_errors_at_recall(gold, order, CURVE, mode="interp")
    curves = {
        "precision_recall": {"recall": recall.tolist(), "precision": precision.tolist()},
        "reliability_10_equal_width": {name: column.tolist() for name, column in bins._asdict().items()},
        "rank_errors": {"recall": list(CURVE), "step": list(step.values()), "interp": list(interp.values())},
    }
    return _Part(figures, intervals, curves)


def _headline_intervals(
    given: EvaluationInputs, matrices: _Matrices, draws: int, seed: int
) -> dict[str, dict[str, float]]:
    """With a progress bar, where it takes more than a moment."""
    find = functools.partial(metrics.headline_intervals, *matrices, given.patients, draws, seed, KS)
    if draws * matrices.gold.size < LONG:
        return find()
    resampled = "notes" if given.patients is None else "patients"
    with progress_bar(2 * int(matrices.gold.sum()), f"intervals over {resampled}", "gold codes") as bar:
        return find(advance=bar.advance)


def _reading_depth(given: EvaluationInputs, matrices: _Matrices, weights: Floats | None) -> _Part:
    """How far to read; and the intervals of figures that are means over notes."""
    gold, values, _, order = matrices
    depth = report_depth(gold, values, order, given.depths, weights)
    intervals = {}
    if weights is not None:
        interp = {_interp(n): v for n, v in note_rank_errors(gold_ranks(gold, order), RECALLS, "interp").items()}
        errors = np.square(values - gold).mean(axis=1)  # of each note; their mean is the Brier score
        drawn = drawn_means(depth.notes | {"brier": errors}, weights)
        intervals = intervals_of(drawn | drawn_means(interp, weights[:, gold.any(axis=1)]))
    return _Part(depth.figures, intervals, {"reading": depth.rows, "reading_from": depth.source})


def _billing_order(
    given: EvaluationInputs, places: ArrayLike, kinds: Sequence[Kind], matrices: _Matrices, weights: Floats | None
) -> _Part:
    """The billing order."""
    billed = report_order(places, given.principal, kinds, matrices.order, "these predictions")
    intervals = {} if weights is None else intervals_of(drawn_means(billed.notes, weights))
    beside = bounds(places, kinds, frequencies(given.codes, given.train_counts))
    gain = {kind: found | beside[kind] for kind, found in billed.curves.items()}
    return _Part(billed.figures, intervals, {"gain": gain})


def _filtered(
    given: EvaluationInputs, matrices: _Matrices, weights: Floats | None
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Figures and intervals over the codes with gold; without weights there are no intervals."""
    if not matrices.gold.any():
        return {}, {}
    kept = metrics.codes_with_gold(matrices.gold)
    gold, accepted, order = matrices.gold[:, kept], matrices.accepted[:, kept], matrices.order[:, kept]
    figures, drawn = metrics.decision_metrics(gold, accepted), {}
    if weights is not None:
        drawn = drawn_decisions(gold, accepted, weights)
    if given.probabilities is not None:
        figures |= metrics.ranking_metrics(gold, order, KS)
        ranks = gold_ranks(gold, order)
        drawn |= {} if weights is None else drawn_means(note_ranking(ranks, KS), weights[:, ranks.has_gold])
    names = [name for name in FILTERED if name in figures]
    found = intervals_of({name: drawn[name] for name in names if name in drawn})
    return {name: figures[name] for name in names}, found


def _interp(name: str) -> str:
    return name.replace("_at_", "_interp_at_")


def _stamps(extra: Mapping[str, Any]) -> list[str]:
    """A coder's versions (`ConceptCoder.versions`) say what its heads were fitted on; codes may have lost zeros."""
    in_sample = "IN-SAMPLE" in str(extra.get("coder", {}).get("heads_fitted_on", ""))
    return [*([IN_SAMPLE] if in_sample else []), *extra.get("code_checks", ())]


def _code_rows(given: EvaluationInputs, matrices: _Matrices) -> list[dict[str, Any]]:
    tp, fp, fn = metrics.confusion(matrices.gold, matrices.accepted)
    rows = zip(given.codes, tp, fp, fn, *metrics.code_scores(tp, fp, fn), strict=True)
    counts, titles = given.train_counts, given.titles or {}
    return [
        {
            "code": code,
            "title": titles.get(code),
            "train_count": None if counts is None else int(counts.get(code, 0)),
            "gold": int(hit + missed),
            "tp": int(hit),
            "fp": int(false),
            "fn": int(missed),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
        }
        for code, hit, false, missed, precision, recall, f1 in rows
    ]


def plain(value: Any) -> Any:
    """As JSON holds it: no tuples, no NumPy numbers; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
