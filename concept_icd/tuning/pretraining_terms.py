"""The classification as matter for questions: what a code is asked as, and the words by which notes mention it.

The question is the code's own text; the note should mostly say it in other words (inclusion terms, index entries,
synonyms of open medical pages), so that a model cannot answer by matching strings alone.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from concept_icd.ontology import Ontology
from concept_icd.tuning.pretraining_text import Topic, withheld, words_of

#: Shares kept apart for the held-out questions.
WITHHELD_PHRASES, WITHHELD_CODES = 0.05, 0.01

_LEADING = re.compile(r"^(unspecified|other and unspecified) ", re.IGNORECASE)
_ASIDES = re.compile(r"\s*[\[(][^\])]*[\])]")
_FORMAL = re.compile(
    r", (NOS|NEC|unspecified|not elsewhere classified|not otherwise specified|site not specified|"
    r"organism unspecified)\b.*$|( of)? unspecified site$| (NOS|NEC|unspecified)$",
    re.IGNORECASE,
)


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
    indexed: dict[str, list[str]] = defaultdict(list)
    for phrase, code in index:
        indexed[code].append(phrase)
    groups = {code: _group(path, ontology) for code, path in paths.items()}
    titles = {code: plain([text])[:1] for code, text in texts.items()}
    known = {code: titles[code] + plain(indexed.get(code, ())) for code in texts}
    added = _whole({code: plain(inclusions.get(code, ())) for code in texts}, known, groups)
    borrowed = _synonyms(PhraseFinder(titles, index), topics)
    wordings = {code: tuple(dict.fromkeys(known[code] + added[code] + borrowed.get(code, ()))) for code in texts}
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
        trees[ontology.kind(code)][groups[code]].append(code)
    by_category = {kind: {group: tuple(codes) for group, codes in tree.items()} for kind, tree in trees.items()}
    finder = PhraseFinder(kept, [pair for pair in index if pair[0] in kept.get(pair[1], ())])
    counts = Counter(code for note in notes for code in {code for _, _, code in finder.find(note)})
    common = tuple(sorted(counts))
    weights = tuple(math.sqrt(counts[code]) for code in common)
    return CodeTerms(texts, paths, kept, held, apart, by_category, (common, weights), finder)


def plain(phrases: Iterable[str]) -> tuple[str, ...]:
    """Phrases as a clinician would write them: no brackets, no "NOS", inverted index entries turned round."""
    found: dict[str, None] = {}
    for phrase in phrases:
        if phrase.endswith(":") or "classifiable" in phrase:
            continue
        short = _LEADING.sub("", _FORMAL.sub("", _ASIDES.sub("", phrase)).strip(" ,;-"))
        if 3 <= len(short) <= 90:
            found[short] = None
            head, comma, rest = short.partition(", ")
            if comma and "," not in rest and len(rest.split()) <= 3 and not rest.startswith(("with", "due", "in ")):
                found[f"{rest} {head[0].lower()}{head[1:]}"] = None
    return tuple(found)


def _group(path: Sequence[str], ontology: Ontology) -> str:
    """The category, or the three-digit node of a procedure: 100 procedure categories are too wide to balance by."""
    level = "subcategory" if ontology.kind(path[-1]) == "procedure" else "category"
    return next((code for code in path if ontology.level(code) == level), path[-1])


def _whole(
    added: Mapping[str, tuple[str, ...]], known: Mapping[str, tuple[str, ...]], groups: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Inclusion terms that say enough alone: not those of several categories, nor bare parts of the code's own title.

    Under "Malignant neoplasm of kidney", the inclusion term "Kidney" is a site, not a disease.
    """
    owners: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for source in (added, known):
        for code, names in source.items():
            for name in names:
                owners[words_of(name)].add(groups[code])
    kept = {}
    for code, names in added.items():
        title = set(words_of(known[code][0])) if known[code] else set()
        kept[code] = tuple(
            name for name in names if len(owners[words_of(name)]) == 1 and not set(words_of(name)) < title
        )
    return kept


def _synonyms(finder: PhraseFinder, topics: Sequence[Topic]) -> dict[str, tuple[str, ...]]:
    """A topic whose names lead to exactly one code lends it its other names."""
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for topic in topics:
        hits = {code for name in topic.names if (code := finder.codes.get(words_of(name)))}
        if len(hits) == 1:
            found[hits.pop()] += plain(topic.names)
    return found


class PhraseFinder:
    """Finds the wordings of codes in running text, longest first.

    A name that leads to several codes goes where the alphabetic index says first, then to the code it is the title
    of, then to the widest.
    """

    def __init__(
        self, wordings: Mapping[str, Sequence[str]], index: Sequence[tuple[str, str]] = (), longest: int = 6
    ) -> None:
        self.longest = longest
        self.codes: dict[tuple[str, ...], str] = {}
        by_width = sorted((len(code), code) for code in wordings)
        pairs = [pair for pair in index if pair[1] in wordings]
        pairs += [(name, code) for _, code in by_width for name in wordings[code][:1]]
        # A single word that is neither a main term nor a title says too little in running text: "heart", "total".
        rest = [(name, code) for _, code in by_width for name in wordings[code][1:]]
        pairs += [(name, code) for name, code in rest if len(words_of(name)) > 1]
        for name, code in pairs:
            words = words_of(name)
            if words and len(words) <= longest and len("".join(words)) >= 4:
                self.codes.setdefault(words, code)

    def find(self, text: str) -> list[tuple[int, str, str]]:
        """(index of the first word, the words, the code) of each match, in order, without overlaps."""
        words, found, start = words_of(text), [], 0
        while start < len(words):
            for size in range(min(self.longest, len(words) - start), 0, -1):
                code = self.codes.get(words[start : start + size])
                if code is not None:
                    found.append((start, " ".join(words[start : start + size]), code))
                    start += size
                    break
            else:
                start += 1
        return found
