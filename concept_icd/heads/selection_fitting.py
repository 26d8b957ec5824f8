r"""Fits the bars of a top-down selection (`scoring.selection`) to scores of all concepts and gold codes.

A gold path is a note and one of its gold codes; it is kept when every concept above the code in the set reaches its
bar, so that the code is asked. Opening a concept with m concepts below costs m questions, hence a concept reaches its
bar when

\[ s - \pi \ln m \ge b_l , \]

with one price \(\pi\) and one bar \(b_l\) a level. All bars begin where no gold path is lost. Then, step by step, the
bar is raised whose next value saves the most questions per gold path lost, as long as the stated share is kept: the
gold paths that are given up are spread over the levels where they are cheapest. This is repeated for each price, and
the one with the fewest questions is taken. The greedy steps make one nested family of rules, from which a budget too
finds its bars. It sees scores and gold, never text.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from concept_icd.corpora.folds import cross_fit, group_folds
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import Ontology
from concept_icd.records import LEVELS, Note
from concept_icd.scoring.selection import SelectionRule, TopDownSelection, ask_stored, tree_of

#: Prices that are tried, in log-odds per e-fold of children.
PRICES = (0.0, 0.5, 1.0, 1.5, 2.0)
#: Gold paths are given up in so many steps.
STEPS = 200
#: Below every score, and still a number in JSON.
LOW = 1e9
#: Bars look at scores alone.
_NOBODY = Note("", "")


def fit_selection(
    logits: np.ndarray,
    gold: np.ndarray,
    concepts: ConceptSet,
    ontology: Ontology,
    *,
    keep: float | None = 0.98,
    budget: int | None = None,
    retrieve: int = 0,
    descend: bool = True,
    notes: Sequence[Note] | None = None,
) -> SelectionRule:
    """Fits the bars and the price, and what stands for a concept that was not asked.

    Args:
        logits: scores of all concepts by a model that was not tuned on the notes, shape (notes, concepts).
        gold: 0/1, shape (notes, codes), in the order of `concepts.codes`.
        keep: the share of gold paths to keep. budget: questions to a note; one of the two is given. The bars of
            a budget are those that ask so many questions in the mean; with them, the most promising concepts come
            first.
        retrieve, descend: of the rule. notes: the retriever reads them; nothing else does.

    Raises:
        InputError: no gold code, or a share or budget that cannot be.
    """
    if (keep is None) == (budget is None):
        raise InputError("a selection keeps a share of the gold paths or has a budget: name one of the two")
    if keep is not None and not 0 < keep <= 1:
        raise InputError(f"the share of gold paths to keep is {keep}: it must be above 0 and at most 1")
    tree = _Tree.of(concepts, ontology)
    if budget is not None and budget < len(tree.first):
        raise InputError(f"a budget of {budget} questions is less than the {len(tree.first)} of the first round")
    wanted = gold_rows(gold, concepts)
    if not wanted.any():
        raise InputError("none of the notes has a code of the set: there is no path to keep")
    best: tuple[float, float, np.ndarray] | None = None
    for price in PRICES:
        steps = _Paths(logits, wanted, tree, price).steps(keep or 0.0, budget or 0)
        step = steps[-1]
        # Fewest questions at the share, or the largest share at the budget.
        figure = step.questions if budget is None else -step.kept
        if best is None or figure < best[0]:
            best = figure, price, step.bars
    assert best is not None
    bars = dict(zip(tree.levels, map(float, best[2]), strict=True))
    rule = SelectionRule(bars, {}, best[1], budget, retrieve, descend)
    asked = ask_stored(TopDownSelection.over(concepts, ontology, rule), notes or [_NOBODY] * len(logits), logits)
    return replace(rule, fill=_fill(logits, asked, [concept.level for concept in concepts.concepts]))


def cross_validate(
    logits: np.ndarray,
    gold: np.ndarray,
    concepts: ConceptSet,
    ontology: Ontology,
    groups: Sequence[Hashable],
    *,
    notes: Sequence[Note] | None = None,
    folds: int = 5,
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """The share of gold paths kept and the questions to a note, each note under bars fitted on other patients' notes.

    Args:
        groups: the patient of each note. notes, options: see `fit_selection`.
    """
    read = list(notes or [_NOBODY] * len(logits))
    fold, wanted = group_folds(groups, folds, seed), gold_rows(gold, concepts)
    asked = np.zeros(logits.shape, dtype=bool)

    def fit(rows: np.ndarray) -> SelectionRule:
        own = [read[row] for row in rows]
        return fit_selection(logits[rows], gold[rows], concepts, ontology, notes=own, **options)

    for out, rule in cross_fit(fold, fit):
        selection = TopDownSelection.over(concepts, ontology, rule)
        asked[out] = ask_stored(selection, [read[row] for row in out], logits[out])
    return {
        "kept": float((asked & wanted).sum() / wanted.sum()),
        "questions": float(asked.sum(axis=1).mean()),
        "concepts": len(concepts),
        "notes": len(logits),
        "gold_paths": int(wanted.sum()),
        "folds": len(np.unique(fold)),
    }


def gold_rows(gold: np.ndarray, concepts: ConceptSet) -> np.ndarray:
    """Bool (notes, concepts): the codes' own concepts where the code is gold, from gold (notes, codes)."""
    wanted = np.zeros((len(gold), len(concepts)), dtype=bool)
    note, column = np.nonzero(gold)
    wanted[note, concepts.own_rows[column]] = True
    return wanted


def _fill(logits: np.ndarray, asked: np.ndarray, levels: Sequence[str]) -> dict[str, float]:
    """For each level the median score of what was not asked, or of all where everything was."""
    found = {}
    for level in dict.fromkeys(levels):
        columns = np.array([name == level for name in levels])
        scores, left = logits[:, columns], ~asked[:, columns]
        found[level] = float(np.median(scores[left] if left.any() else scores))
    return found


@dataclass(frozen=True)
class _Step:
    """Bars of the levels that have inner concepts, the share of gold paths kept and the questions to a note."""

    bars: np.ndarray
    kept: float
    questions: float


@dataclass(frozen=True)
class _Tree:
    """The inner concepts of a set.

    Attributes:
        levels: those of inner concepts, widest first. first: rows of the first round.
        inner: rows. sizes: how many concepts hang under each. level: index into `levels` of each.
        above: for every row, the places in `inner` of the concepts above it, widest first.
    """

    levels: Sequence[str]
    first: np.ndarray
    inner: np.ndarray
    sizes: np.ndarray
    level: np.ndarray
    above: list[list[int]]

    @classmethod
    def of(cls, concepts: ConceptSet, ontology: Ontology) -> _Tree:
        below, first = tree_of(concepts, ontology)
        sizes, names = np.diff(below.indptr), [concept.level for concept in concepts.concepts]
        inner = np.flatnonzero(sizes)
        levels = [level for level in LEVELS if any(names[row] == level for row in inner)]
        parent = {
            child: place
            for place, row in enumerate(inner.tolist())
            for child in below.indices[below.indptr[row] : below.indptr[row + 1]].tolist()
            if names[child] != "phrase"
        }
        above: list[list[int]] = []
        for row in range(len(concepts)):
            chain: list[int] = []
            while (place := parent.get(row)) is not None:
                chain.insert(0, place)
                row = int(inner[place])
            above.append(chain)
        return cls(levels, first, inner, sizes[inner], np.array([levels.index(names[row]) for row in inner]), above)


class _Paths:
    """What bars do to some notes, at one price.

    For every gold path and every inner concept of a note: the lowest score, less the price, at each level on the way,
    (paths, levels); infinite where the way has no concept of the level.
    """

    def __init__(self, logits: np.ndarray, wanted: np.ndarray, tree: _Tree, price: float) -> None:
        scores = logits[:, tree.inner] - np.float32(price) * np.log(tree.sizes).astype(np.float32)
        note, row = np.nonzero(wanted)
        self.gold = np.full((len(note), len(tree.levels)), np.inf, dtype=np.float32)
        for path, (n, chain) in enumerate(zip(note.tolist(), (tree.above[k] for k in row.tolist()), strict=True)):
            for place in chain:
                level = tree.level[place]
                self.gold[path, level] = min(self.gold[path, level], scores[n, place])
        inner = np.full((len(logits), len(tree.inner), len(tree.levels)), np.inf, dtype=np.float32)
        for place, row_of_inner in enumerate(tree.inner.tolist()):
            for step in (*tree.above[row_of_inner], place):
                level = tree.level[step]
                np.minimum(inner[:, place, level], scores[:, step], out=inner[:, place, level])
        self._inner = inner.reshape(-1, len(tree.levels))
        self._cost = np.tile(tree.sizes / len(logits), len(logits))
        self._first = len(tree.first)

    def steps(self, keep: float, budget: int) -> list[_Step]:
        """Ever higher bars, until less than `keep` of the gold paths would be kept or the budget is reached."""
        bars = np.where(np.isfinite(low := self.gold.min(axis=0)), low, -LOW).astype(np.float32)
        at_once, kept, inner, cost = max(1, len(self.gold) // STEPS), self.gold, self._inner, self._cost
        steps: list[_Step] = []
        while True:
            # What one bar has shut stays shut, so that every step looks at less.
            still = (inner >= bars).all(axis=1)
            inner, cost, kept = inner[still], cost[still], kept[(kept >= bars).all(axis=1)]
            steps.append(_Step(bars, len(kept) / len(self.gold), self._first + float(cost.sum())))
            if steps[-1].questions <= budget:
                return steps
            choices = []
            for level in range(len(bars)):
                column = kept[:, level]
                scores = column[np.isfinite(column)]
                if len(scores) <= at_once:
                    continue
                bar = np.nextafter(np.partition(scores, at_once - 1)[at_once - 1], np.float32(np.inf))
                lost = int((column < bar).sum())
                if len(kept) - lost >= keep * len(self.gold):
                    choices.append((cost[inner[:, level] < bar].sum() / lost, level, bar))
            if not choices:
                return steps
            _, level, bar = max(choices)
            bars = bars.copy()
            bars[level] = bar
