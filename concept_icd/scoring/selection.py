"""Top-down selection: which concepts of a large set a note is asked about, from the chapters down to the codes.

Round one asks the concepts that have no ancestor in the set: the chapters. A concept whose score reaches the bar of its
level is opened: the concepts right below it are asked next. With a budget, the concepts furthest above their bars are
opened first, until their children would cost more questions than are left. A phrase is asked with the codes that it
covers. With a retriever, round one also asks all that covers the codes whose words the note has.

A score is logit(yes) - logit(no), and a bar stands on the same scale: sigmoid(bar) is the probability from which
a concept is opened. It knows a concept set, the tree and notes; how bars are fitted stands in
`concept_icd.heads.selection_fitting`, since that takes gold codes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_icd.artifacts import hash_of, read_json, write_json
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.retrieval import CodeRetriever
from concept_icd.ontology.tree import Ontology
from concept_icd.records import LEVELS, Note
from concept_icd.scoring.scorer import ConceptScores, NoteFailure, QuestionPlan, Rounds, Scorer, next_round

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FILE = "descent.json"
FORMAT = 1
#: A budget is spent in about so many rounds: fewer of them know less, more of them are shorter forward passes.
ROUNDS = 10


@dataclass(frozen=True)
class SelectionRule:
    """What was fitted, level by level, so that it serves any concept set.

    Attributes:
        bars: level -> score from which its concepts are opened. A level without one has that of the next wider level.
        fill: level -> score that stands for a concept that was not asked.
        price: what each e-fold of children adds to the bar of a concept: opening it costs a question a child.
        budget: questions to a note; None: every concept that reaches its bar is opened; else the most promising ones,
            bar or not, until it is spent. Round one is asked whatever it costs.
        retrieve: codes of the retriever whose concepts are asked too. descend: False: no others are asked.
        fitted: how, on what, and with which figures.
    """

    bars: Mapping[str, float]
    fill: Mapping[str, float]
    price: float = 0.0
    budget: int | None = None
    retrieve: int = 0
    descend: bool = True
    fitted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Hex digest of all but the figures."""
        return hash_of({name: value for name, value in vars(self).items() if name != "fitted"})

    def save(self, path: str | Path) -> None:
        """Writes the rule as JSON."""
        write_json(path, {"format": FORMAT, **vars(self)})

    @classmethod
    def load(cls, path: str | Path) -> SelectionRule:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing, or is no rule of this format.
        """
        record = read_json(path)
        try:
            if record.pop("format") != FORMAT:
                raise ValueError("format")
            rule = cls(**record)
            numbers = [rule.price, *rule.bars.values(), *rule.fill.values(), rule.retrieve]
            if not {*rule.bars, *rule.fill} <= set(LEVELS) or not all(math.isfinite(number) for number in numbers):
                raise ValueError("levels")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is not a selection that this version wrote: run `concept-icd fit-selection` again"
            ) from error
        return rule


@dataclass(frozen=True, eq=False)
class TopDownSelection:
    """A rule over one concept set: a `QuestionPlan`, which `over` makes again from the three.

    Attributes:
        concepts, classification, rule: what it was made from; the name stands for the ontology.
        below: (concepts, concepts), bool, sparse: the row of a concept has those that are asked when it is opened.
        first: rows of round one.
        bars, fill: float32, shape (concepts,).
        retriever: with `paths`, (codes, concepts), what covers each code; None: there is none.
    """

    concepts: ConceptSet
    classification: str
    rule: SelectionRule
    below: csr_array
    first: np.ndarray
    bars: np.ndarray
    fill: np.ndarray
    retriever: CodeRetriever | None = None
    paths: csr_array | None = None

    @classmethod
    def over(cls, concepts: ConceptSet, ontology: Ontology, rule: SelectionRule) -> TopDownSelection:
        """The rule over this concept set."""
        below, first = tree_of(concepts, ontology)
        levels = [concept.level for concept in concepts.concepts]
        bars, fill = _of_levels(rule.bars), _of_levels(rule.fill)
        price = rule.price * np.log(np.maximum(1, np.diff(below.indptr)))
        retriever = CodeRetriever.of(concepts) if rule.retrieve else None
        return cls(
            concepts,
            ontology.name,
            rule,
            below,
            first if rule.descend else first[:0],
            (np.array([bars[level] if rule.descend else np.inf for level in levels]) + price).astype(np.float32),
            np.array([fill[level] for level in levels], dtype=np.float32),
            retriever,
            concepts.cover.T.tocsr() if retriever else None,
        )

    @cached_property
    def hash(self) -> str:
        """Hex digest of all that decides what is asked and what is filled in."""
        digest = hashlib.sha256(hash_of([self.rule.budget, self.rule.retrieve, ROUNDS]).encode())
        for array in (self.below.indptr, self.below.indices, self.first, self.bars, self.fill):
            digest.update(np.ascontiguousarray(array).tobytes())
        if self.retriever is not None:
            digest.update(self.retriever.hash.encode())
        return digest.hexdigest()

    def rounds(self, note: Note) -> Rounds:
        """The rounds of one note; see the module."""
        asked, left = np.zeros(len(self.bars), dtype=bool), self.rule.budget
        margins = np.full(len(self.bars), -np.inf, dtype=np.float32)  # above the bar, of what can still be opened
        rows = np.union1d(self.first, self._retrieved(note))
        has_children = np.diff(self.below.indptr) > 0
        while len(rows):
            logits = yield rows
            asked[rows] = True
            margins[rows] = np.where(has_children[rows], logits - self.bars[rows], -np.inf)
            left = None if left is None else left - len(rows)
            rows = self._open(margins, asked, left)

    def _open(self, margins: np.ndarray, asked: np.ndarray, left: int | None) -> np.ndarray:
        """Opens concepts, which takes their margin from them; the rows to ask next."""
        ready = np.flatnonzero(margins >= 0 if left is None else np.isfinite(margins))
        wanted = np.zeros(len(asked), dtype=bool)
        if left is None:
            wanted[_children(self.below, ready)] = True
            margins[ready] = -np.inf
            return np.flatnonzero(wanted & ~asked)
        share, spent = max(1, (self.rule.budget or 0) // ROUNDS), 0
        for row in ready[np.argsort(-margins[ready], kind="stable")].tolist():
            children = _children(self.below, [row])
            new = children[~(asked[children] | wanted[children])]
            if spent + len(new) > left or (spent and spent + len(new) > share):
                break
            wanted[new] = True
            margins[row] = -np.inf
            spent += len(new)
        return np.flatnonzero(wanted)

    def _retrieved(self, note: Note) -> np.ndarray:
        if self.retriever is None or self.paths is None:
            return self.first[:0]
        return _children(self.paths, self.retriever.best(note, self.rule.retrieve))


def tree_of(concepts: ConceptSet, ontology: Ontology) -> tuple[csr_array, np.ndarray]:
    """What is asked when a concept is opened, as in `TopDownSelection`, and the rows that hang under no other.

    A node hangs under its nearest ancestor in the set, whatever levels the set lacks. A phrase hangs where the codes
    that it covers hang.
    """
    from scipy.sparse import csr_array

    row_of: dict[str, int] = {}  # node -> its row
    for row, concept in enumerate(concepts.concepts):
        kind, _, name = concept.key.partition(":")
        if kind != "phrase":
            row_of[concepts.meaning(name) if kind == "code" else name] = row
    row_of_label = dict(zip(concepts.codes, concepts.own_rows.tolist(), strict=True))
    parent: dict[int, int | None] = {}
    for node, row in row_of.items():
        parent[row] = next((row_of[above] for above in reversed(ontology.ancestors(node)) if above in row_of), None)
    pairs, first = [], []
    for row, concept in enumerate(concepts.concepts):
        own = {row} if row in parent else {row_of_label[code] for code in concept.codes}
        parents = {parent[code] for code in own}
        if None in parents:
            first.append(row)
        else:
            pairs += [(above, row) for above in parents]
    upper, lower = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    below = csr_array((np.ones(len(lower), dtype=bool), (upper, lower)), shape=(len(concepts), len(concepts)))
    below.sort_indices()
    return below, np.array(first, dtype=np.int64)


def planned_scores(scorer: Scorer, notes: Sequence[Note], concepts: ConceptSet, plan: QuestionPlan) -> ConceptScores:
    """The scores of what a plan asks, in a matrix that `plan.fill` completes, notes in the order given.

    Raises:
        InputError: a note cannot be scored.
    """
    row_of = {note.note_id: row for row, note in enumerate(notes)}
    logits = np.tile(plan.fill, (len(notes), 1))
    truncated: list[str | None] = [None] * len(notes)
    for scores in scorer.iter_scores(notes, concepts.concepts, plan):
        if isinstance(scores, NoteFailure):
            raise InputError(scores.reason)
        row = row_of[scores.note_id]
        logits[row, scores.asked], truncated[row] = scores.logits, scores.truncated
    return ConceptScores(tuple(row_of), concepts.hash, logits, tuple(truncated))


def ask_stored(selection: TopDownSelection, notes: Sequence[Note], logits: np.ndarray) -> np.ndarray:
    """What a selection asks where the scores of all concepts (notes, concepts) are known: bool, of that shape."""
    asked = np.zeros(logits.shape, dtype=bool)
    for note, row, scores in zip(notes, asked, logits, strict=True):
        rounds = selection.rounds(note)
        rows = next(rounds, None)
        while rows is not None:
            row[rows] = True
            rows = next_round(rounds, scores[rows])
    return asked


def _children(below: csr_array, rows: Any) -> np.ndarray:
    parts = [below.indices[below.indptr[row] : below.indptr[row + 1]] for row in rows]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


def _of_levels(values: Mapping[str, float]) -> dict[str, float]:
    """A value for every level: its own, else that of the next wider one, else of the widest that has one."""
    last = next((values[level] for level in LEVELS if level in values), 0.0)
    found: dict[str, float] = {}
    for level in LEVELS:
        last = found[level] = values.get(level, last)
    return found
