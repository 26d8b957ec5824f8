"""What the classification calls its codes (titles, inclusion terms, entries of the index), and where a note says it.

The titles come with the package; the NCHS files with inclusion terms and index are a user's own
(`concept_icd.ontology.nchs`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from concept_icd.ontology.nchs import read_index, read_tabular
from concept_icd.ontology.phrases import plain_phrases
from concept_icd.ontology.tree import Ontology
from concept_icd.text.sentences import Clause, clauses
from concept_icd.text.words import placed_stems, stems, words_of

Found = TypeVar("Found")
#: Words of the longest wording that is looked for in text.
LONGEST = 6


def read_inclusions(paths: Iterable[str | Path]) -> dict[str, list[str]]:
    """Code -> what the tabular lists include in it.

    Raises:
        InputError: a file is missing, damaged or no tabular list.
    """
    return {code: [*entry.inclusions, *entry.includes] for path in paths for code, entry in read_tabular(path).items()}


def read_entries(paths: Iterable[str | Path], codes: Mapping[str, object]) -> list[tuple[str, str]]:
    """(Phrase, code) of the entries of alphabetic indexes that lead to one of `codes`, main terms' own codes first.

    Raises:
        InputError: a file is missing, damaged or no alphabetic index.
    """
    entries = [entry for path in paths for entry in read_index(path)]
    entries.sort(key=lambda entry: len(entry.terms))
    return [(entry.phrase, entry.code) for entry in entries if entry.code in codes]


def collect_wordings(
    ontology: Ontology,
    titles: Mapping[str, str],
    inclusions: Mapping[str, Iterable[str]],
    index: Sequence[tuple[str, str]],
) -> dict[str, tuple[str, ...]]:
    """Code -> what notes may call it, each wording once, the plain title first.

    Args:
        titles: of every code and node above. inclusions: see `read_inclusions`. index: see `read_entries`.
    """
    indexed: dict[str, list[str]] = defaultdict(list)
    for phrase, code in index:
        indexed[code].append(phrase)
    known = {code: plain([title])[:1] + plain(indexed.get(code, ())) for code, title in titles.items()}
    groups = {code: group_of(code, ontology) for code in titles}
    added = _whole({code: plain(inclusions.get(code, ())) for code in titles}, known, groups)
    return {code: tuple(dict.fromkeys(known[code] + added[code])) for code in titles}


def plain(phrases: Iterable[str]) -> tuple[str, ...]:
    """Plain phrases, and inverted ones turned round besides.

    >>> plain(["Pneumonia, viral NOS"])
    ('Pneumonia, viral', 'viral pneumonia')
    """
    found: dict[str, None] = {}
    for phrase in plain_phrases(phrases):
        found[phrase] = None
        head, comma, rest = phrase.partition(", ")
        if comma and "," not in rest and len(rest.split()) <= 3 and not rest.startswith(("with", "due", "in ")):
            found[f"{rest} {head[0].lower()}{head[1:]}"] = None
    return tuple(found)


def group_of(code: str, ontology: Ontology) -> str:
    """The category, or the three-digit node of a procedure: 100 procedure categories are too wide to tell apart by."""
    level = "subcategory" if ontology.kind(code) == "procedure" else "category"
    return next((node for node in ontology.path(code) if ontology.level(node) == level), code)


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


def phrase_codes(
    wordings: Mapping[str, Sequence[str]], index: Sequence[tuple[str, str]] = ()
) -> dict[tuple[str, ...], str]:
    """The stems of wordings -> the code that each leads to, as `find_phrases` looks for them.

    A wording of several codes goes where the alphabetic index says first, then to the code it is the title of, then to
    the widest.

    >>> phrase_codes({"486": ["Pneumonia", "Lung", "Inflammation of lungs"]})
    {('pneumonia',): '486', ('inflammation', 'lung'): '486'}
    """
    by_width = sorted((len(code), code) for code in wordings)
    pairs = [pair for pair in index if pair[1] in wordings]
    pairs += [(name, code) for _, code in by_width for name in wordings[code][:1]]
    # A single word that is neither a main term nor a title says too little in running text: "heart", "total".
    rest = [(name, code) for _, code in by_width for name in wordings[code][1:]]
    pairs += [(name, code) for name, code in rest if len(stems(name)) > 1]
    codes: dict[tuple[str, ...], str] = {}
    for name, code in pairs:
        words = tuple(stems(name))
        if words and len(words) <= LONGEST and len("".join(words)) >= 4:
            codes.setdefault(words, code)
    return codes


def find_phrases(text: str, known: Mapping[tuple[str, ...], Found]) -> Iterator[tuple[Clause, int, int, Found]]:
    """The phrases in a normalised text, clause by clause, from the left, the longest first, without overlaps.

    Args:
        known: the stems of a phrase -> what is told of it.

    Yields:
        The clause, where in its text the phrase begins and ends, and what is known.

    >>> known = phrase_codes({"486": ["Pneumonia"], "480.9": ["Viral pneumonia"]})
    >>> found = find_phrases("Viral pneumonias. No pneumonia.", known)
    >>> [(clause.text[start:end], clause.status(start), code) for clause, start, end, code in found]
    [('viral pneumonias', '+', '480.9'), ('pneumonia', '-', '486')]
    """
    for clause in clauses(text):
        words = placed_stems(clause.text)
        first = 0
        while first < len(words):
            for after in range(min(len(words), first + LONGEST), first, -1):
                if (found := known.get(tuple(stem for stem, _, _ in words[first:after]))) is not None:
                    yield clause, words[first][1], words[after - 1][2], found
                    first = after
                    break
            else:
                first += 1
