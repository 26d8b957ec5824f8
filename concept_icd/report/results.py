"""Everything that is to be said about one set of predictions: figures, n, intervals, where the threshold came from.

Knows matrices and names; it knows nothing of models, files or pages. No note and no patient can be found in it again:
figures are sums over notes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from concept_icd import metrics
from concept_icd.artifacts import git_commit, hash_of, versions
from concept_icd.metrics.decisions import check_decisions
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


def evaluate(
    gold: ArrayLike,
    probabilities: ArrayLike | None,
    codes: Sequence[str],
    note_ids: Sequence[str],
    *,
    patients: Sequence[Hashable] | None = None,
    scores: ArrayLike | None = None,
    decisions: ArrayLike | None = None,
    threshold: float | None = None,
    threshold_source: str | None = None,
    label_set: str | None = None,
    places: ArrayLike | None = None,
    principal: ArrayLike | None = None,
    reading: Mapping[float, Stops] | None = None,
    kinds: Sequence[Kind] | None = None,
    train_counts: Mapping[str, int] | None = None,
    titles: Mapping[str, str] | None = None,
    seed: int = 0,
    draws: int = 1000,
    extra: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    command: str | None = None,
) -> Results:
    """Measures predictions.

    Args:
        gold: 0/1 (notes, codes). probabilities: (notes, codes) in 0..1, or None for decisions without them: what needs
            an order or a probability is then left out. codes: dotted, the columns. note_ids: the rows.
        patients: (notes,) whom each note is about; intervals resample them. None resamples notes.
        scores: the order of the codes, where it is not that of the probabilities (a learned ranker).
        decisions: 0/1 (notes, codes), the accepted codes. None accepts at p >= `threshold` (.5 where that is None).
        threshold_source: where the threshold or the decisions came from; required with either of them.
        places, principal: the billing order and the principal diagnoses of the gold, as `coder.gold_places` gives them;
            None: the gold is sets, and no figure of the billing order is given. kinds: (codes,), required with places.
        reading: recall asked for -> how far each note is read for it, and the recall expected there, (notes,) each, as
            `metrics.recall_depth.stops` gives them; None: the probabilities are taken at their word.
        label_set: in words, where the codes came from. train_counts: code -> training notes that have it.
        titles: code -> title. draws: most samples of the intervals (`metrics.intervals`); 0 gives no intervals.
        extra: "levels" (from `level_metrics`), "systems" (name -> figures of another system or bound on the same
            notes), "published" (`Comparison.to_dict`), "coder" (its versions, which say whether it was fitted on
            in-sample scores), "code_checks" (sentences on gold codes that cannot be billed); any other key is stored
            as it is.

    Raises:
        ValueError: matrices that are no such matrices, names that do not fit them, a threshold without its source,
            neither probabilities nor decisions, places that are not the gold's or come without kinds.
    """
    if probabilities is None and decisions is None:
        raise ValueError("without probabilities there must be decisions")
    soft = decisions if probabilities is None else probabilities
    truth, values = metrics.check_pair(gold, np.asarray(soft), probabilities=True)
    if truth.shape != (len(note_ids), len(codes)):
        raise ValueError(f"gold has shape {truth.shape}, but there are {len(note_ids)} notes and {len(codes)} codes")
    if len(set(note_ids)) < len(note_ids) or len(set(codes)) < len(codes):
        raise ValueError("note_ids and codes must each be without repeats")
    if (decisions is not None or threshold is not None) and not threshold_source:
        raise ValueError("threshold_source must say where the threshold or the decisions came from")
    if places is not None and (kinds is None or not np.array_equal(np.asarray(places) > 0, truth)):
        raise ValueError("places are those of the gold codes, and come with the kinds of the codes")
    if decisions is None:
        threshold = 0.5 if threshold is None else threshold
        decisions = values >= threshold
    truth, accepted = check_decisions(truth, decisions)
    order = values if scores is None else np.asarray(scores, dtype=np.float64)
    figures = metrics.decision_metrics(truth, accepted)
    if probabilities is not None:
        figures |= _soft_figures(truth, values, order)
    ranked_by = "probability" if scores is None else "the predictions' own ranks"
    intervals = _intervals(truth, values, accepted, order, patients, draws, seed) if draws else {}
    curves: dict[str, Any] = {}
    weights = draw_weights(patients, len(truth), draws, seed) if draws else None
    filtered = _filtered(truth, accepted, None if probabilities is None else order, weights)
    if probabilities is not None:
        depth = report_depth(truth, values, order, reading, weights)
        interp = {_interp(n): v for n, v in note_rank_errors(gold_ranks(truth, order), RECALLS, "interp").items()}
        curves = _curves(truth, values, order) | {"reading": depth.rows, "reading_from": depth.source}
        figures |= depth.figures
        if weights is not None:
            errors = np.square(values - truth).mean(axis=1)  # of each note; their mean is the Brier score
            drawn = drawn_means(depth.notes | {"brier": errors}, weights) | drawn_means(
                interp, weights[:, truth.any(axis=1)]
            )
            intervals |= intervals_of(drawn)
    if places is not None and kinds is not None and probabilities is not None:
        billed = report_order(places, principal, kinds, order, "these predictions")
        figures |= billed.figures
        if weights is not None:
            intervals |= intervals_of(drawn_means(billed.notes, weights))
        beside = bounds(places, kinds, frequencies(codes, train_counts))
        curves["gain"] = {kind: found | beside[kind] for kind, found in billed.curves.items()}
    return Results(
        figures=figures,
        intervals={name: band for name, band in intervals.items() if name in figures},
        counts={
            "notes": len(note_ids),
            "notes_with_gold": int(truth.any(axis=1).sum()),
            "patients": None if patients is None else len(set(patients)),
            "codes": len(codes),
            "codes_present": int(truth.any(axis=0).sum()),
            "gold_labels": int(truth.sum()),
            "accepted_labels": int(accepted.sum()),
        },
        threshold=threshold,
        threshold_source=threshold_source or "default .5, not tuned",
        label_set=label_set or f"{len(codes)} codes, as given",
        ranked_by=NOT_RANKED if probabilities is None else ranked_by,
        resampled="notes" if patients is None else "patients",
        seed=seed,
        notes_hash=hash_of(sorted(note_ids)),
        codes=_code_rows(truth, accepted, codes, train_counts, titles),
        curves=curves,
        extra=dict(extra or {}),
        inputs=dict(inputs or {}),
        command=command,
        stamps=_stamps(extra or {}),
        filtered=filtered[0],
        filtered_intervals=filtered[1],
    )


def _intervals(
    gold: Any, probabilities: Any, accepted: Any, order: Any, patients: Any, draws: int, seed: int
) -> dict[str, dict[str, float]]:
    """With a progress bar, where it takes more than a moment."""
    find = functools.partial(
        metrics.headline_intervals, gold, probabilities, accepted, order, patients, draws, seed, KS
    )
    if draws * gold.size < LONG:
        return find()
    with progress_bar(
        2 * int(gold.sum()), f"intervals over {'notes' if patients is None else 'patients'}", "gold codes"
    ) as bar:
        return find(advance=bar.advance)


def _filtered(
    gold: Any, accepted: Any, order: Any, weights: Any
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Figures and intervals over the codes with gold.

    Args:
        order: None for decisions alone. weights: None for no intervals.
    """
    if not gold.any():
        return {}, {}
    kept = metrics.codes_with_gold(gold)
    gold, accepted = gold[:, kept], accepted[:, kept]
    figures, drawn = metrics.decision_metrics(gold, accepted), {}
    if weights is not None:
        drawn = drawn_decisions(gold, accepted, weights)
    if order is not None:
        figures |= metrics.ranking_metrics(gold, order[:, kept], KS)
        ranks = gold_ranks(gold, order[:, kept])
        drawn |= {} if weights is None else drawn_means(note_ranking(ranks, KS), weights[:, ranks.has_gold])
    names = [name for name in FILTERED if name in figures]
    found = intervals_of({name: drawn[name] for name in names if name in drawn})
    return {name: figures[name] for name in names}, found


def _soft_figures(gold: Any, probabilities: Any, order: Any) -> dict[str, float]:
    """What needs probabilities, or an order of the codes."""
    figures = metrics.area_metrics(gold, probabilities) | metrics.ranking_metrics(gold, order, KS)
    interpolated = metrics.rank_errors_at_recall(gold, order, mode="interp")
    figures |= {_interp(name): value for name, value in interpolated.items()}
    return figures | metrics.calibration_metrics(gold, probabilities)


def _interp(name: str) -> str:
    return name.replace("_at_", "_interp_at_")


def _stamps(extra: Mapping[str, Any]) -> list[str]:
    """A coder's versions (`ConceptCoder.versions`) say what its heads were fitted on; codes may have lost zeros."""
    in_sample = "IN-SAMPLE" in str(extra.get("coder", {}).get("heads_fitted_on", ""))
    return [*([IN_SAMPLE] if in_sample else []), *extra.get("code_checks", ())]


def _code_rows(
    gold: Any, accepted: Any, codes: Sequence[str], counts: Mapping[str, int] | None, titles: Mapping[str, str] | None
) -> list[dict[str, Any]]:
    tp, fp, fn = metrics.confusion(gold, accepted)
    rows = zip(codes, tp, fp, fn, *metrics.code_scores(tp, fp, fn), strict=True)
    return [
        {
            "code": code,
            "title": (titles or {}).get(code),
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


def _curves(gold: Any, probabilities: Any, order: Any) -> dict[str, Any]:
    recall, precision = metrics.precision_recall_curve(gold, probabilities)
    bins = metrics.equal_width_bins(gold.ravel(), probabilities.ravel(), 10)
    step = metrics.rank_errors_at_recall(gold, order, CURVE)
    interp = metrics.rank_errors_at_recall(gold, order, CURVE, mode="interp")
    return {
        "precision_recall": {"recall": recall.tolist(), "precision": precision.tolist()},
        "reliability_10_equal_width": {name: column.tolist() for name, column in bins._asdict().items()},
        "rank_errors": {"recall": list(CURVE), "step": list(step.values()), "interp": list(interp.values())},
    }


def plain(value: Any) -> Any:
    """As JSON holds it: no tuples, no NumPy numbers; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
