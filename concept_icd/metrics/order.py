r"""Does the order of the codes match the billing order? Diagnoses and procedures apart, each ranked within its kind.

A note has P gold codes of a kind; the one at place g of the billing order has relevance P - g + 1. With r the rank of
a code among the codes of its kind (1 is the top):

    cumulative_gain_at_k = sum_{r <= k} relevance          graded_dcg_at_k = sum_{r <= k} relevance / log2(1 + r)
    graded_ndcg_at_k     = graded_dcg_at_k / that of the billing order itself;   graded_ndcg: the same with every rank
    kendall_tau          = (C - D) / (P (P - 1) / 2)       C pairs of gold codes stand in billing order, D turned round

    primary_accuracy     = share of notes whose top-ranked diagnosis is the principal diagnosis
    primary_mrr          = mean 1 / r of the principal diagnosis          primary_hit_at_k = share with r <= k

Sources: Mansoori et al. 2025 (LTR-ICD) for the gain and the principal diagnosis; relevance P - g + 1 and the rest are
this package's reading, since the paper prints no formulas. Conventions:

- Places are ranks: gaps vanish (places 1, 2, 5 mean 1, 2, 3), whether a sequence number is missing or a code lies
  outside the label set. P counts the gold codes in the set. No two codes of a note and kind share a place.
- A note counts for a kind where it has a gold code of it, for Kendall's tau where it has two; a note without codes, or
  with procedures alone, is in no figure of the diagnoses. No such note: NaN.
- The principal diagnosis is given apart, since a label set may leave it out: such a note, like one without
  diagnoses, is in no primary figure, however its other codes stand. `primary_notes` is how many notes are.
- Ties are broken by column, as in `ranks`: so are the codes that a system did not rank, all with the same lowest
  score. Kendall's tau counts a tied pair as neither C nor D: what is not ordered earns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.auc import mean_of_defined
from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair
from concept_icd.metrics.ranking import ranks_of

Codes = Literal["diagnoses", "procedures"]
#: Where the field cuts its gain curves.
KS = (1, 3, 5, 8, 10, 15)


def order_metrics(
    gold_places: ArrayLike,
    scores: ArrayLike,
    diagnoses: ArrayLike,
    principal: ArrayLike | None = None,
    ks: Iterable[int] = KS,
) -> dict[str, float]:
    """The module's figures, each a mean over the notes that count for it, and `primary_notes`.

    Args:
        gold_places: int (notes, codes), 0 where the code is not gold, else its place in the order of its kind, from 1.
        scores: (notes, codes), higher is ranked earlier; of a system with ranks, minus the rank.
        diagnoses: bool (codes,), which codes are diagnoses; the others are procedures.
        principal: (notes,) column of the principal diagnosis, -1 where the set or the note has none; None: the first
            gold diagnosis.
        ks: the cuts.

    Returns:
        primary_accuracy, primary_notes, primary_mrr, primary_hit_at_k; with the suffixes _diagnoses and _procedures
        cumulative_gain_at_k, graded_dcg_at_k, graded_ndcg_at_k, graded_ndcg, kendall_tau.

    Raises:
        ValueError: matrices of other shapes, NaN, negative or shared places, a principal diagnosis that is no column
            of a diagnosis, a k below 1.

    >>> places = [[1, 2, 0]]  # two diagnoses, the first is the principal one; the third code is a procedure
    >>> found = order_metrics(places, [[0.4, 0.9, 0.1]], np.array([True, True, False]), ks=[1])
    >>> found["primary_accuracy"], found["primary_mrr"], found["kendall_tau_diagnoses"]
    (0.0, 0.5, -1.0)
    """
    return order_figures(note_order(gold_places, scores, diagnoses, principal, ks))


def order_figures(values: Mapping[str, Floats]) -> dict[str, float]:
    """The figures of `order_metrics` from the values per note of `note_order`."""
    primary_notes = int(np.count_nonzero(~np.isnan(values["primary_accuracy"])))
    return {"primary_notes": primary_notes} | {name: mean_of_defined(value) for name, value in values.items()}


def note_order(
    gold_places: ArrayLike,
    scores: ArrayLike,
    diagnoses: ArrayLike,
    principal: ArrayLike | None = None,
    ks: Iterable[int] = KS,
) -> dict[str, Floats]:
    """The figures of `order_metrics` per note, (notes,) each, NaN where the note does not count.

    >>> places, scores = [[1, 2], [1, 0]], [[0.9, 0.4], [0.2, 0.8]]
    >>> found = note_order(places, scores, np.array([True, True]), ks=[1])
    >>> found["primary_mrr"].tolist(), found["kendall_tau_diagnoses"].tolist()
    ([1.0, 0.5], [1.0, nan])
    """
    places, values, is_diagnosis = _checked(gold_places, scores, diagnoses)
    cuts = _cuts(ks)
    found = _primary(places, values, is_diagnosis, principal, cuts)
    found |= _graded(_ordered(places[:, is_diagnosis], values[:, is_diagnosis]), "diagnoses", cuts)
    return found | _graded(_ordered(places[:, ~is_diagnosis], values[:, ~is_diagnosis]), "procedures", cuts)


def gain_curve(
    gold_places: ArrayLike, scores: ArrayLike, diagnoses: ArrayLike, kind: Codes, ks: Iterable[int] = range(1, 16)
) -> Floats:
    """Mean cumulative gain of a kind at each k, (ks,); NaN where no note has a gold code of the kind.

    With minus the places as scores it is the highest possible curve (codes that are not gold then need scores of
    minus infinity).

    >>> places, scores = [[1, 2, 0]], [[0.4, 0.9, 0.6]]  # read: the second of the bill, a code in vain, the first
    >>> gain_curve(places, scores, np.array([True] * 3), "diagnoses", ks=[1, 2, 3]).tolist()
    [1.0, 1.0, 3.0]
    """
    places, values, is_diagnosis = _checked(gold_places, scores, diagnoses)
    chosen = is_diagnosis if kind == "diagnoses" else ~is_diagnosis
    gold = _ordered(places[:, chosen], values[:, chosen])
    return np.array([mean_of_defined(gold.sums(gold.relevance * (gold.rank <= k))) for k in _cuts(ks)])


@dataclass(frozen=True)
class _GoldOrder:
    """One entry per gold (note, code) of a kind, by note and then in billing order; `count`: (notes,)."""

    note: Ints
    place: Ints
    rank: Ints
    score: Floats
    count: Ints

    @property
    def relevance(self) -> Ints:
        return self.count[self.note] - self.place + 1

    def sums(self, values: Floats | Ints) -> Floats:
        """Sums per note; NaN for a note without a gold code of the kind."""
        summed = np.bincount(self.note, weights=values, minlength=self.count.size)
        return np.where(self.count > 0, summed, np.nan)


def _ordered(places: Ints, scores: Floats) -> _GoldOrder:
    note, code = np.nonzero(places)
    given = places[note, code]
    by_place = np.lexsort((given, note))
    note, code, given = note[by_place], code[by_place], given[by_place]
    shared = np.flatnonzero((note[1:] == note[:-1]) & (given[1:] == given[:-1]))
    if shared.size:
        row = int(note[shared[0]])
        raise ValueError(f"note {row} has two codes of one kind at place {given[shared[0]]} of the billing order")
    count = np.bincount(note, minlength=len(places))
    first = np.cumsum(count) - count  # where each note's entries begin
    place = np.arange(note.size) - first[note] + 1
    return _GoldOrder(note, place, ranks_of(scores, note, code), scores[note, code], count)


def _graded(gold: _GoldOrder, kind: Codes, ks: list[int]) -> dict[str, Floats]:
    gain = gold.relevance / np.log2(1 + gold.rank)
    ideal = gold.relevance / np.log2(1 + gold.place)
    found: dict[str, Floats] = {}
    for k in ks:
        found[f"cumulative_gain_at_{k}_{kind}"] = gold.sums(gold.relevance * (gold.rank <= k))
        dcg = gold.sums(gain * (gold.rank <= k))
        found[f"graded_dcg_at_{k}_{kind}"] = dcg
        found[f"graded_ndcg_at_{k}_{kind}"] = dcg / gold.sums(ideal * (gold.place <= k))
    found[f"graded_ndcg_{kind}"] = gold.sums(gain) / gold.sums(ideal)
    return found | {f"kendall_tau_{kind}": _kendall_tau(gold)}


def _kendall_tau(gold: _GoldOrder) -> Floats:
    most = int(gold.count.max())
    scores = np.full((gold.count.size, most), np.nan)  # (notes, places); comparisons with NaN are false
    scores[gold.note, gold.place - 1] = gold.score
    surplus = np.zeros(gold.count.size)  # C - D
    for apart in range(1, most):
        earlier, later = scores[:, :-apart], scores[:, apart:]
        surplus += np.count_nonzero(earlier > later, axis=1)
        surplus -= np.count_nonzero(earlier < later, axis=1)
    pairs = gold.count * (gold.count - 1) / 2
    return np.divide(surplus, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)


def _primary(
    places: Ints, scores: Floats, diagnoses: Bools, principal: ArrayLike | None, ks: list[int]
) -> dict[str, Floats]:
    if principal is None:
        among = np.where((places > 0) & diagnoses, places, np.iinfo(places.dtype).max)
        column = np.where(((places > 0) & diagnoses).any(axis=1), among.argmin(axis=1), -1)
    else:
        column = np.asarray(principal)
        if column.shape != (len(places),) or not np.issubdtype(column.dtype, np.integer):
            raise ValueError(f"principal holds one column per note, {len(places)} integers")
        if column.size and not (column.min() >= -1 and column.max() < diagnoses.size):
            raise ValueError(f"principal holds columns of the {diagnoses.size} codes, or -1")
        if not diagnoses[column[column >= 0]].all():
            raise ValueError("a principal diagnosis stands in the column of a procedure")
    note = np.flatnonzero(column >= 0)
    among_diagnoses = np.cumsum(diagnoses) - 1
    rank = np.full(len(places), np.nan)
    rank[note] = ranks_of(scores[:, diagnoses], note, among_diagnoses[column[note]])
    found = {"primary_accuracy": _share(rank, 1), "primary_mrr": 1 / rank}
    return found | {f"primary_hit_at_{k}": _share(rank, k) for k in ks}


def _share(rank: Floats, k: int) -> Floats:
    return np.where(np.isnan(rank), np.nan, rank <= k)


def _cuts(ks: Iterable[int]) -> list[int]:
    cuts = sorted(set(ks))
    if any(k < 1 for k in cuts):
        raise ValueError(f"k starts at 1: {cuts}")
    return cuts


def _checked(gold_places: ArrayLike, scores: ArrayLike, diagnoses: ArrayLike) -> tuple[Ints, Floats, Bools]:
    places = np.asarray(gold_places)
    if not np.issubdtype(places.dtype, np.integer) or (places.size and places.min() < 0):
        raise ValueError("gold_places holds integers: 0 for no gold code, else the place in the billing order, from 1")
    _, values = check_pair(places > 0, scores)
    is_diagnosis = np.asarray(diagnoses)
    if is_diagnosis.dtype != np.bool_ or is_diagnosis.shape != places.shape[1:]:
        raise ValueError(f"diagnoses is bool, one per code ({places.shape[1]}), not {is_diagnosis.shape}")
    return places.astype(np.int64, copy=False), values, is_diagnosis
