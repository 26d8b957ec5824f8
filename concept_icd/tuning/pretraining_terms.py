"""The classification as matter for questions: what a code is asked as, and the words by which notes mention it.

The question is the code's own text; the note should mostly say it in other words (inclusion terms, index entries,
synonyms of open medical pages), so that a model cannot answer by matching strings alone.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from concept_icd.ontology.tree import Ontology
from concept_icd.ontology.wordings import PhraseFinder, collect_wordings, group_of, plain, words_of
from concept_icd.tuning.pretraining_text import Topic, withheld

#: Shares kept apart for the held-out questions.
WITHHELD_PHRASES, WITHHELD_CODES = 0.05, 0.01


@dataclass(frozen=True)
class CodeTerms:
    """What is asked and said about every code.

    Attributes:
        texts: code -> the words of its question. paths: code -> ancestors and the code, widest first.
        wordings: code -> what notes call it, the plain title first. withheld: the wordings kept for evaluation.
        withheld_codes: codes that no training note mentions. by_category: kind -> category -> codes with wordings.
        common: codes whose wordings occur in open notes, with the weight of each. finder: of the wordings in text.
    """

    texts: Mapping[str, str]
    paths: Mapping[str, tuple[str, ...]]
    wordings: Mapping[str, tuple[str, ...]]
    withheld: Mapping[str, tuple[str, ...]]
    withheld_codes: tuple[str, ...]
    by_category: Mapping[str, Mapping[str, tuple[str, ...]]]
    common: tuple[tuple[str, ...], tuple[float, ...]]
    finder: PhraseFinder

    def draw(self, rng: random.Random, procedures: float = 0.12, common: float = 0.5) -> str:
        """A code: from the common ones, or of a random category, so that large categories do not crowd out others."""
        if self.common[0] and rng.random() < common:
            return rng.choices(self.common[0], self.common[1])[0]
        tree = self.by_category["procedure" if rng.random() < procedures else "diagnosis"]
        return rng.choice(tree[rng.choice(tuple(tree))])

    def words(self, code: str, rng: random.Random, title: float = 0.3) -> str:
        """How a note mentions the code: by its title, or (mostly) in other words."""
        known = self.wordings[code]
        return known[0] if len(known) == 1 or rng.random() < title else rng.choice(known[1:])


def collect_terms(
    ontology: Ontology,
    texts: Mapping[str, str],
    inclusions: Mapping[str, Iterable[str]],
    index: Sequence[tuple[str, str]],
    topics: Sequence[Topic],
    notes: Sequence[str],
    seed: int,
) -> CodeTerms:
    """Joins the titles, the phrases of the classification and the synonyms of topics that share a name with a code.

    Args:
        texts: the words of each code's question. inclusions: code -> its inclusion terms.
        index: (phrase, code) of the alphabetic index, main terms first.
        notes: open notes; codes whose wordings occur there are drawn more often, by the root of their number of notes.
    """
    paths = {code: tuple(ontology.path(code)) for code in texts}
    called = collect_wordings(ontology, texts, inclusions, index)
    borrowed = _synonyms(PhraseFinder({code: plain([text])[:1] for code, text in texts.items()}, index), topics)
    wordings = {code: tuple(dict.fromkeys(called[code] + borrowed.get(code, ()))) for code in texts}
    mentioned = [code for code in texts if ontology.level(code) not in ("chapter", "section") and wordings[code]]
    apart = tuple(code for code in mentioned if not ontology.children(code) and withheld(code, WITHHELD_CODES, seed))
    kept: dict[str, tuple[str, ...]] = {}
    held: dict[str, tuple[str, ...]] = {code: wordings[code] for code in apart}
    for code in mentioned:
        if code in held:
            continue
        out = tuple(phrase for phrase in wordings[code][1:] if withheld(phrase.lower(), WITHHELD_PHRASES, seed))
        kept[code] = tuple(phrase for phrase in wordings[code] if phrase not in out)
        if out:
            held[code] = out
    trees: dict[str, dict[str, list[str]]] = {"diagnosis": defaultdict(list), "procedure": defaultdict(list)}
    for code in kept:
        trees[ontology.kind(code)][group_of(code, ontology)].append(code)
    by_category = {kind: {group: tuple(codes) for group, codes in tree.items()} for kind, tree in trees.items()}
    finder = PhraseFinder(kept, [pair for pair in index if pair[0] in kept.get(pair[1], ())])
    counts = Counter(code for note in notes for code in {code for _, _, code in finder.find(note)})
    common = tuple(sorted(counts))
    weights = tuple(math.sqrt(counts[code]) for code in common)
    return CodeTerms(texts, paths, kept, held, apart, by_category, (common, weights), finder)


def _synonyms(finder: PhraseFinder, topics: Sequence[Topic]) -> dict[str, tuple[str, ...]]:
    """A topic whose names lead to exactly one code lends it its other names."""
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for topic in topics:
        hits = {code for name in topic.names if (code := finder.codes.get(words_of(name)))}
        if len(hits) == 1:
            found[hits.pop()] += plain(topic.names)
    return found
