"""A code set expanded into a multi-level set of yes/no concepts, and the weak labels of a coded note.

Concepts are the ancestors of the codes at every level that is asked for, the codes themselves, and clinical phrases
that belong to codes (the idea of CEC, papers: Fatemi et al. 2025). It knows the ontology, and nothing of notes' text,
prompts or models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from concept_icd.artifacts import hash_of, read_json, write_json
from concept_icd.errors import InputError, did_you_mean
from concept_icd.ontology.phrases import phrase_key
from concept_icd.ontology.tree import DEFAULT, Ontology
from concept_icd.records import EXPERTS, LEVELS, Concept, Level, OneLine

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NODE_LEVELS: tuple[Level, ...] = ("chapter", "section", "category", "subcategory", "code")


@dataclass(frozen=True, repr=False)
class ConceptSet(OneLine):
    """Codes and the concepts that cover them, widest level first.

    Attributes:
        codes: the label set; strings of the corpus, even where they are no codes of the ontology (see `expand`).
        concepts: each with a key of its own.
        aliases: label -> the code that it means, for the labels that are not the code themselves.
        classification: name of the ontology of the codes.
    """

    codes: tuple[str, ...]
    concepts: tuple[Concept, ...]
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    classification: str = DEFAULT

    @classmethod
    def expand(
        cls,
        codes: Iterable[str],
        ontology: Ontology,
        levels: Sequence[str] = NODE_LEVELS,
        phrases: Mapping[str, Sequence[str]] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> ConceptSet:
        """The concepts of a label set.

        A label is always a concept of level "code", whatever its depth in the tree, even when it is an ancestor of
        another label or when "code" is not among `levels`. An ancestor is one concept, however many labels lie below
        it. A phrase that several codes share is one concept that covers them all. An ancestor or a phrase is left out
        when a concept before it says the same words and covers the same labels: it would be the same question.

        Args:
            codes: the label set, in the order to keep.
            levels: which levels of ancestors to add ("code": nothing more than the labels).
            phrases: code -> phrases. The code may be an inner node: its phrases cover every label below it.
            aliases: label -> the code that it means, for labels that data have spoilt: "40.7", once "04.07"; "66.",
                once "00.66". Like a label, the code may be retired: its nearest ancestor then speaks for it. Labels
                that mean one code ("66." and "66.0") share its concept.

        Raises:
            InputError: a label is there twice; it, or what it means, is malformed or in no chapter; a level is
                unknown; no labels.
        """
        labels = tuple(codes)
        means = _check(labels, ontology, levels, aliases or {})
        paths = {label: ontology.path(code) for label, code in means.items()}
        below: dict[str, list[str]] = {}  # node -> the labels at or below it, in label order
        for label, path in paths.items():
            for node in path:
                below.setdefault(node, []).append(label)
        spelled = {code: label for label, code in reversed(means.items())}  # the first of the labels that mean it
        concepts = [
            Concept(f"code:{spelled[code]}", "code", node_text(ontology, code), tuple(below[code]))
            for code in dict.fromkeys(means.values())
        ]
        said = {(concept.text.lower(), concept.codes) for concept in concepts}
        meant = set(means.values())
        ancestors = [(ontology.concept_level(node), node) for node in below if node not in meant]
        for level in ("subcategory", "category", "section", "chapter"):  # narrowest first, see `said`
            own = [node for found, node in ancestors if found == level and level in levels]
            texts = {node: (node_text(ontology, node), tuple(below[node])) for node in own}
            new = set()
            for node in sorted(own, key=lambda node: -len(ontology.ancestors(node))):
                text, covered = texts[node]
                if (text.lower(), covered) not in said:
                    said.add((text.lower(), covered))
                    new.add(node)
            concepts += [Concept(f"{level}:{node}", level, *texts[node]) for node in own if node in new]
        concepts += [
            phrase
            for phrase in _phrase_concepts(phrases or {}, below, labels)
            if (phrase.text.lower(), phrase.codes) not in said
        ]
        concepts.sort(key=lambda concept: LEVELS.index(concept.level))  # stable: within a level, in label order
        used = {label: code for label, code in (aliases or {}).items() if label in means and label != code}
        return cls(labels, tuple(concepts), used, ontology.name)

    def __post_init__(self) -> None:
        if len(self._positions) != len(self.concepts):
            raise InputError("two concepts of the set have the same key")

    def __len__(self) -> int:
        return len(self.concepts)

    def index(self, key: str) -> int:
        """The row of a concept.

        Raises:
            InputError: no concept of the set has this key.
        """
        if key not in self._positions:
            raise InputError(f"the concept set has no {key!r}{did_you_mean(key, self._positions)}")
        return self._positions[key]

    @property
    def cover(self) -> csr_array:
        """(concepts, codes), bool, sparse: True where a concept covers a code."""
        from scipy.sparse import csr_array

        column = {code: number for number, code in enumerate(self.codes)}
        indices = [column[code] for concept in self.concepts for code in concept.codes]
        starts = np.cumsum([0, *(len(concept.codes) for concept in self.concepts)])
        return csr_array((np.ones(len(indices), dtype=bool), indices, starts), shape=(len(self), len(self.codes)))

    @cached_property
    def rows(self) -> dict[str, tuple[int, ...]]:
        """Code -> the rows of the concepts that cover it, widest level first."""
        rows: dict[str, list[int]] = {code: [] for code in self.codes}
        order = (*LEVELS, *EXPERTS)
        for row in sorted(range(len(self)), key=lambda row: order.index(self.concepts[row].level)):
            for code in self.concepts[row].codes:
                rows[code].append(row)
        return {code: tuple(found) for code, found in rows.items()}

    @cached_property
    def own_rows(self) -> NDArray[np.int64]:
        """(codes,): the row of the concept that is the code itself; labels that mean one code share it."""
        row_of = {
            self.meaning(concept.key.partition(":")[2]): row
            for row, concept in enumerate(self.concepts)
            if concept.level == "code"
        }
        return np.array([row_of[self.meaning(label)] for label in self.codes], dtype=np.int64)

    @property
    def titles(self) -> list[str]:
        """Of each code of the label set, as a question would say it."""
        return [self.concepts[row].text for row in self.own_rows.tolist()]

    @cached_property
    def hash(self) -> str:
        """Hex digest of codes, keys, levels, texts and coverage, in order: the identity of a score matrix's columns."""
        return hash_of(self._to_dict())

    def meaning(self, label: str) -> str:
        """The code of the ontology that a label means: mostly the label itself."""
        return self.aliases.get(label, label)

    def weak_labels(self, codes: Iterable[str]) -> NDArray[np.float32]:
        """(concepts,): 1.0 where a concept covers one of a note's gold codes. Codes outside the set are ignored."""
        labels = np.zeros(len(self.concepts), dtype=np.float32)
        for code in codes:
            labels[list(self.rows.get(code, ()))] = 1.0
        return labels

    def on_path(self, code: str) -> tuple[int, ...]:
        """Rows of the concepts that cover a code of the set, widest level first.

        Raises:
            InputError: the code is not in the set.
        """
        if code not in self.rows:
            raise InputError(f"{code!r} is not in the code set{did_you_mean(code, self.codes)}")
        return self.rows[code]

    def save(self, path: str | Path) -> None:
        """Writes the set as JSON."""
        write_json(path, self._to_dict() | {"hash": self.hash})

    @classmethod
    def load(cls, path: str | Path) -> ConceptSet:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing, is no concept set, or was changed since it was written.
        """
        record = read_json(path)
        try:
            concepts = tuple(
                Concept(item["key"], item["level"], item["text"], tuple(item["codes"])) for item in record["concepts"]
            )
            aliases, classification = dict(record.get("aliases", {})), record.get("classification", DEFAULT)
            loaded = cls(tuple(record["codes"]), concepts, aliases, classification)
            written = record["hash"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not a concept set that concept-icd wrote") from error
        if loaded.hash != written:
            raise InputError(f"{path} was changed after it was written; expand the code set again")
        return loaded

    def _to_dict(self) -> dict[str, object]:
        record: dict[str, object] = {"codes": self.codes, "concepts": [asdict(concept) for concept in self.concepts]}
        record |= {"aliases": dict(self.aliases)} if self.aliases else {}
        return record | ({"classification": self.classification} if self.classification != DEFAULT else {})

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {concept.key: row for row, concept in enumerate(self.concepts)}


def node_text(ontology: Ontology, code: str) -> str:
    """A node's title as a question can use it; of a retired code, its nearest ancestor's.

    The tables' titles are self-contained and in sentence case. What a title can lack is what sets it apart: where
    another node, not on the same path, bears the same title, the parent's title goes before it ("Late effects of
    cerebrovascular disease: monoplegia of lower limb" for 438.4, since 344.3 is called so too).
    """
    node = ontology.resolve(code)
    if node.parent is None or not _has_namesake(ontology, node.code):
        return node.title
    return f"{ontology.title(node.parent)}: {node.title[0].lower()}{node.title[1:]}"


def _has_namesake(ontology: Ontology, code: str) -> bool:
    kin = set(ontology.path(code))
    return any(other not in kin and code not in ontology.path(other) for other in ontology.namesakes(code))


def _check(
    labels: tuple[str, ...], ontology: Ontology, levels: Sequence[str], aliases: Mapping[str, str]
) -> dict[str, str]:
    """Label -> the code that it means."""
    if not labels:
        raise InputError("the code set is empty")
    for label, times in Counter(labels).items():
        if times > 1:
            raise InputError(f"the code set names {label!r} {times} times")
    for level in levels:
        if level not in NODE_LEVELS:
            raise InputError(f"{level!r} is no level{did_you_mean(level, NODE_LEVELS)}")
    for label, code in aliases.items():
        try:
            ontology.resolve(code)
        except InputError as error:
            raise InputError(f"the alias of {label!r} names no code: {error}") from error
    means = {label: aliases.get(label, label) for label in labels}
    for code in means.values():
        ontology.resolve(code)  # raises for what is no code
    return means


def _phrase_concepts(
    phrases: Mapping[str, Sequence[str]], below: Mapping[str, Sequence[str]], labels: tuple[str, ...]
) -> list[Concept]:
    texts: dict[str, str] = {}
    covered: dict[str, set[str]] = {}
    for owner, words in phrases.items():
        for text in words if owner in below else ():
            key = phrase_key(text)
            texts.setdefault(key, " ".join(text.split()))
            covered.setdefault(key, set()).update(below[owner])
    position = {label: number for number, label in enumerate(labels)}
    return [
        Concept(f"phrase:{key}", "phrase", text, tuple(sorted(covered[key], key=position.__getitem__)))
        for key, text in texts.items()
        if key
    ]
