r"""What a note says of codes in the classification's own words: their titles, inclusion terms and index entries.

A note is read clause by clause (`concept_icd.text.sentences`). A *term* of a code is found there longest first, so that
"viral pneumonia" is no "pneumonia", and is affirmed, doubted or denied, in one section or another. How much each of
these counts is learnt once for all codes, so that it also holds for a code without a training note: the terms are the
classification's, and of a single code only its frequency is learnt. With \(x\) the features of a pair of note
and code (0 or 1; see `TermExpert`) and \(f_c\) the share of training notes with the code,

\[ \mathrm{logit}\,P(y_{nc} = 1) = w \cdot x_{nc} + v\, \mathrm{logit}\, f_c + b . \]
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from concept_icd.artifacts import hash_of, read_json, require_finite, write_json
from concept_icd.corpora.folds import cross_fit
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet, node_text
from concept_icd.ontology.tree import Ontology, load_ontology
from concept_icd.ontology.wordings import collect_wordings, find_phrases, phrase_codes, read_entries, read_inclusions
from concept_icd.records import CodedNote, Level, Note, OneLine
from concept_icd.text.assertion import Status
from concept_icd.text.words import fold

FILE = "terms.json"
STATUSES: tuple[Status, ...] = ("+", "?", "-")
#: Sections with terms in a smaller share of the training notes are not told apart.
SECTION_SHARE = 0.05
#: The column of a term of a code outside the label set: it is found, so that no shorter term is, and says nothing.
OUTSIDE = -1


@dataclass(frozen=True, eq=False, repr=False)
class TermExpert(OneLine):
    """Fitted terms.

    Attributes:
        terms: stems of a term -> column of its code, or `OUTSIDE`. sections: the headings told apart.
        weights: w, float64: a status anywhere, then in each section besides; affirmed while another code is, and not
            affirmed while another is. bias: v logit f + b, float64 (codes,).
    """

    codes: tuple[str, ...]
    terms: Mapping[tuple[str, ...], int]
    sections: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    level: Level = "terms"

    def log_odds(self, notes: Sequence[Note]) -> np.ndarray:
        """See `Expert`."""
        found = np.full((len(notes), len(self.codes)), np.nan, dtype=np.float32)
        for row, note in enumerate(notes):
            if note.normalized.text:
                found[row] = self.log_odds_of(said(note.normalized.text, self._folded))
        return found

    def log_odds_of(self, mentions: Sequence[tuple[int, str, Status]]) -> np.ndarray:
        """Of one note, float32 (codes,), from what it says."""
        pairs, affirmed = pairs_of(mentions, self.sections)
        odds = self.bias + self.weights[-1] * (affirmed > 0)
        for column, places in pairs.items():
            odds[column] = self.bias[column] + self.weights[places].sum()
        return odds.astype(np.float32)

    @cached_property
    def _folded(self) -> dict[tuple[str, ...], int]:
        """The terms as the words of notes are folded; an expert of an older fit may hold accents."""
        return {tuple(map(fold, term)): column for term, column in self.terms.items()}

    @cached_property
    def hash(self) -> str:
        """See `Expert`."""
        return hash_of(self._record())

    def save(self, folder: Path) -> None:
        """See `Expert`."""
        write_json(folder / FILE, self._record())

    @classmethod
    def load(cls, folder: Path) -> TermExpert:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        record = read_json(folder / FILE)
        try:
            codes, outside = tuple(record["codes"]), dict.fromkeys(record["outside"], OUTSIDE)
            columns = {code: column for column, code in enumerate(codes)}
            inside = {term: columns[code] for term, code in record["terms"].items()}
            terms = {tuple(term.split()): column for term, column in (outside | inside).items()}
            weights, bias = (np.array(record[name], dtype=np.float64) for name in ("weights", "bias"))
            require_finite(folder / FILE, [weights, bias])
            expert = cls(codes, terms, tuple(record["sections"]), weights, bias)
            if len(expert.weights) != _width(expert.sections) or len(expert.bias) != len(codes):
                raise ValueError("numbers are missing")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder / FILE} is damaged: fit the coder again") from error
        return expert

    def _record(self) -> dict[str, object]:
        named = {" ".join(term): column for term, column in self.terms.items()}
        return {
            "codes": self.codes,
            "terms": {term: self.codes[column] for term, column in named.items() if column != OUTSIDE},
            "outside": [term for term, column in named.items() if column == OUTSIDE],
            "sections": self.sections,
            "weights": self.weights.tolist(),
            "bias": self.bias.tolist(),
        }


@dataclass(frozen=True, eq=False)
class TermRecipe:
    """Where the terms are from.

    Attributes:
        wordings: code -> what the classification calls it, the title first. index: (phrase, code), the phrases that
            decide first where a wording of several codes leads.
    """

    ontology: Ontology
    wordings: Mapping[str, Sequence[str]]
    index: Sequence[tuple[str, str]] = ()

    @classmethod
    def read(
        cls, tabular: Iterable[str | Path] = (), index: Iterable[str | Path] = (), classification: str = "icd9cm"
    ) -> TermRecipe:
        """The titles, with the inclusion terms of tabular lists and the entries of alphabetic indexes of NCHS.

        Raises:
            InputError: a file is missing, damaged or not what it should be.
        """
        ontology = load_ontology(classification)
        titles = {code: node_text(ontology, code) for code in ontology.codes(billable=False)}
        entries = read_entries(index, titles)
        return cls(ontology, collect_wordings(ontology, titles, read_inclusions(tabular), entries), entries)

    def terms_of(self, concepts: ConceptSet) -> dict[tuple[str, ...], int]:
        """Terms -> columns: those of a code and of what is below it, and longer ones of other codes that hold them."""
        codes = phrase_codes({code: said for code, said in self.wordings.items() if said}, self.index)
        columns = {concepts.meaning(code): column for column, code in enumerate(concepts.codes)}
        inside: dict[tuple[str, ...], int] = {}
        for term, code in codes.items():
            at = next((node for node in reversed(self.ontology.path(code)) if node in columns), None)
            if at is not None:
                inside[term] = columns[at]
        parts = (
            (term, term[start:end])
            for term in codes
            for start in range(len(term))
            for end in range(start + 1, len(term) + 1)
        )
        return {term: inside.get(term, OUTSIDE) for term, part in parts if part in inside}

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[TermExpert, np.ndarray]:
        """See `ExpertRecipe`."""
        terms, codes = self.terms_of(concepts), tuple(concepts.codes)
        mentions = [said(coded.note.normalized.text, terms) for coded in notes]
        if not any(mentions):
            raise InputError("no training note says a term of a code: leave the expert of terms out")
        held_out = np.full((len(notes), len(codes)), np.nan, dtype=np.float32)
        for rows, expert in cross_fit(fold, lambda rows: _weigh(codes, terms, mentions, gold, rows)):
            for row in rows.tolist():
                if notes[row].note.normalized.text:
                    held_out[row] = expert.log_odds_of(mentions[row])
        return _weigh(codes, terms, mentions, gold, np.arange(len(notes))), held_out


def said(text: str, terms: Mapping[tuple[str, ...], int]) -> list[tuple[int, str, Status]]:
    """(Column, section, status) of each term of the label set that a note says, in order."""
    found = find_phrases(text, terms)
    return [(column, clause.heading, clause.status(start)) for clause, start, _, column in found if column != OUTSIDE]


def pairs_of(mentions: Sequence[tuple[int, str, Status]], sections: Sequence[str]) -> tuple[dict[int, list[int]], int]:
    """Of one note: column -> its features that are 1, for the codes it mentions; and how many codes it affirms."""
    places: dict[int, set[int]] = defaultdict(set)
    for column, section, status in mentions:
        places[column].add(STATUSES.index(status))
        if section in sections:
            places[column].add(len(STATUSES) * (1 + sections.index(section)) + STATUSES.index(status))
    affirmed = {column for column, _, status in mentions if status == "+"}
    while_others, instead = _width(sections) - 2, _width(sections) - 1
    for column, own in places.items():
        if affirmed - {column}:
            own.add(while_others if column in affirmed else instead)
    return {column: sorted(own) for column, own in places.items()}, len(affirmed)


def _width(sections: Sequence[str]) -> int:
    return len(STATUSES) * (len(sections) + 1) + 2


def _weigh(
    codes: tuple[str, ...],
    terms: Mapping[tuple[str, ...], int],
    mentions: Sequence[Sequence[tuple[int, str, Status]]],
    gold: np.ndarray,
    rows: np.ndarray,
) -> TermExpert:
    """The expert of these notes. Equal pairs of a note and a code are counted, not listed."""
    from sklearn.linear_model import LogisticRegression

    own = [mentions[row] for row in rows.tolist()]
    counts = Counter(section for found in own for section in {section for _, section, _ in found})
    sections = tuple(sorted(name for name, count in counts.items() if name and count >= SECTION_SHARE * len(own)))
    width, positive = _width(sections), gold[rows].sum(axis=0).astype(np.float64)
    #: (Column, its features that are 1, whether it is a gold code) -> pairs.
    pairs = Counter[tuple[int, tuple[int, ...], bool]]()
    #: Pairs without a mention: another code is affirmed or none, it is no gold code or it is.
    silent = np.zeros((2, 2, len(codes)), dtype=np.int64)
    for row, found in zip(rows.tolist(), own, strict=True):
        mentioned, affirmed = pairs_of(found, sections)
        has = gold[row].astype(np.int64)
        rest = np.setdiff1d(np.arange(len(codes)), list(mentioned))
        silent[int(affirmed > 0), has[rest], rest] += 1
        pairs.update((column, tuple(places), bool(has[column])) for column, places in mentioned.items())
    for affirms, has_it, column in np.argwhere(silent).tolist():
        pairs[column, (width - 1,) * affirms, bool(has_it)] += int(silent[affirms, has_it, column])
    prior = np.log((positive + 0.5) / (len(rows) - positive + 0.5))
    features = np.zeros((len(pairs), width + 1))
    for row, (column, places, _) in enumerate(pairs):
        features[row, list(places)], features[row, -1] = 1, prior[column]
    target, weight = [has_it for _, _, has_it in pairs], list(pairs.values())
    if len(set(target)) < 2:
        raise InputError("the training notes have every code or none: leave the expert of terms out")
    model = LogisticRegression(tol=1e-6, max_iter=1000).fit(features, target, sample_weight=weight)
    w, b = model.coef_[0].astype(np.float64), float(model.intercept_[0])
    return TermExpert(codes, terms, sections, w[:width], w[width] * prior + b)
