"""Which words of a note carry its codes, where no annotator marked them: guessed from all training notes together.

A phrase of one to four words that stands in the notes with a code far more often than chance has it is taken for what
carries the code there; so is one that says most of the code's title, which also finds words for a code of one note. The
guesses take the place of an annotator's marks in `span_lexicon`, which then learns how far each can be trusted.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from concept_icd.experts.span_lexicon import COMMON, Marked, weight_of
from concept_icd.experts.span_reading import ReadNote, read_words

#: Longest phrase, in words that are not common. Phrases taken for a code of a note, at most.
LONGEST, MOST = 4, 3
#: Least by how many deviations a phrase is more often with the code than chance has it; and least notes with both.
LEAST_DEVIATIONS, LEAST_NOTES = 3.0, 2
#: Least share of the weight of a title that a phrase says.
SAID = 0.5
Phrase = tuple[int, ...]


def align(notes: Sequence[Marked], titles: Sequence[str]) -> list[Marked]:
    """The notes with guessed marks in the place of theirs.

    Args:
        titles: of each code, in the order of the columns.
    """
    stem_notes = Counter(stem for marked in notes for stem in set(marked.note.stems))
    common = {stem for stem, number in stem_notes.items() if number > COMMON * len(notes)}
    said = [dict(_phrases(marked.note, common)) for marked in notes]
    with_phrase = Counter(phrase for own in said for phrase in own)
    with_code = Counter(code for marked in notes for code in marked.gold)
    both: Counter[tuple[Phrase, int]] = Counter()
    for marked, own in zip(notes, said, strict=True):
        frequent = [phrase for phrase in own if with_phrase[phrase] >= LEAST_NOTES]
        both.update((phrase, code) for phrase in frequent for code in marked.gold)

    def deviations(phrase: Phrase, code: int) -> float:
        expected = with_phrase[phrase] * with_code[code] / len(notes)
        return (both[phrase, code] - expected) / math.sqrt(expected + 0.5)

    stems = [{stem for stem in read_words(title).stems if stem not in common} for title in titles]
    weights = defaultdict(float, {stem: weight_of(number, len(notes)) for stem, number in stem_notes.items()})
    whole = [sum(weights[stem] or weight_of(0, len(notes)) for stem in own) for own in stems]
    aligned = []
    for marked, own in zip(notes, said, strict=True):
        marks = []
        for code in sorted(marked.gold):
            found = []
            for phrase, places in own.items():
                share = sum(weights[stem] for stem in set(phrase) & stems[code]) / whole[code] if whole[code] else 0.0
                often = both[phrase, code] >= LEAST_NOTES and deviations(phrase, code) >= LEAST_DEVIATIONS
                if often or share >= SAID:
                    extra = sum(weights[stem] for stem in set(phrase) - stems[code])
                    rank = (deviations(phrase, code) if often else 0.0) + 10 * share - 0.2 * extra
                    found.append((rank, len(phrase), phrase, places))
            found.sort(reverse=True)
            marks += [(code, place) for _, _, _, places in found[:MOST] for place in places]
        aligned.append(replace(marked, marks=marks))
    return aligned


def _phrases(note: ReadNote, common: set[int]) -> Iterator[tuple[Phrase, list[list[int]]]]:
    """Every phrase of stems that are not common, within a piece, with the words of its places."""
    kept = [at for at, stem in enumerate(note.stems) if stem not in common]
    found: dict[Phrase, list[list[int]]] = defaultdict(list)
    for start in range(len(kept)):
        for end in range(start + 1, min(start + LONGEST, len(kept)) + 1):
            if note.piece[kept[start]] != note.piece[kept[end - 1]]:
                break
            place = list(range(kept[start], kept[end - 1] + 1))
            found[tuple(note.stems[at] for at in kept[start:end])].append(place)
    yield from found.items()
