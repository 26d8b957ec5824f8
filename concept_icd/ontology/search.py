"""Ranked word search over short titles: an inverted index of word stems, scored by BM25. It knows no codes' meaning.

Constants and idf are those of `bm25`. Titles hardly repeat a word, so a word counts once.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from concept_icd.ontology.bm25 import K1, B, idf
from concept_icd.text.normalization import normalize
from concept_icd.text.words import stems

#: Every word of the query found counts far more than one rare word found twice.
COVERAGE_POWER = 2.0
#: The last word of a query may still be being typed; a title that completes it is found too.
PREFIX_WEIGHT = 0.6
#: A title that begins with the query's first word is more about it.
FIRST_WORD_BONUS = 1.25
#: Words whose titles are kept, so that typing on is quick.
KEPT_WORDS = 1000


class TitleSearch:
    """Finds titles by their words and keys by their beginning. Built once, in about 0.2 s for 22,000 titles."""

    def __init__(self, titles: Mapping[str, str], beginnings: Sequence[re.Pattern[str]]) -> None:
        """Args: titles by key; `beginnings` match what is a key, or its beginning, rather than words."""
        self._beginnings = beginnings
        self._keys = list(titles)
        self._lengths: list[int] = []
        self._first_words: list[str] = []
        self._postings: dict[str, list[int]] = {}
        for position, title in enumerate(titles.values()):
            found = list(dict.fromkeys(stems(title)))
            self._lengths.append(len(found))
            self._first_words.append(found[0] if found else "")
            for word in found:
                self._postings.setdefault(word, []).append(position)
        self._mean_length = sum(self._lengths) / max(1, len(self._lengths))
        self._vocabulary = sorted(self._postings)
        self._kept: dict[tuple[str, bool], list[tuple[int, float]]] = {}

    def find(self, text: str, limit: int) -> list[tuple[str, float]]:
        """(key, score) best first; equal scores keep the order of the titles.

        Nothing where all words of two letters or more are unknown: a letter that stands alone says too little.
        """
        text = normalize(text).text
        if self._is_beginning(text):
            return self._find_keys(text.upper(), limit)
        words = list(dict.fromkeys(stems(text)))
        if any(len(word) > 1 for word in words) and not self.knows(text):
            return []
        scores, matched = [0.0] * len(self._keys), [0] * len(self._keys)
        for number, word in enumerate(words):
            for position, score in self._score_word(word, number == len(words) - 1):
                scores[position] += score
                matched[position] += 1
        coverage = [(count / len(words)) ** COVERAGE_POWER for count in range(len(words) + 1)] if words else []
        found = [position for position, count in enumerate(matched) if count]
        for position in found:
            scores[position] *= coverage[matched[position]]
            if self._first_words[position] == words[0]:
                scores[position] *= FIRST_WORD_BONUS
        best = heapq.nsmallest(limit, found, key=lambda position: (-scores[position], position))
        return [(self._keys[position], scores[position]) for position in best]

    def knows(self, text: str) -> bool:
        """Whether some title has a word of two letters or more of `text`, or completes its last one; or it is a key."""
        text = normalize(text).text
        words = list(dict.fromkeys(stems(text)))
        found = (any(self._matches(word, word == words[-1])) for word in words if len(word) > 1)
        return self._is_beginning(text) or any(found)

    def _is_beginning(self, text: str) -> bool:
        return any(pattern.fullmatch(text.upper()) for pattern in self._beginnings)

    def _find_keys(self, start: str, limit: int) -> list[tuple[str, float]]:
        """Keys that begin so, shorter ones first ("428" before "428.0"); without a dot, the dot is not looked at."""
        dotted = "." in start
        found = [key for key in self._keys if (key if dotted else key.replace(".", "")).startswith(start)]
        return [(key, 1 / len(key)) for key in sorted(found, key=len)[:limit]]

    def _score_word(self, word: str, last: bool) -> list[tuple[int, float]]:
        """(position, score) of the titles that have the word; kept for whoever types on."""
        if (known := self._kept.get((word, last))) is not None:
            return known
        matches = list(self._matches(word, last))
        found = sum(len(self._postings[known]) for known, _ in matches)
        rarity = idf(found, len(self._keys)) if found < len(self._keys) else 0.0
        scores: dict[int, float] = {}
        for other, weight in matches:
            for position in self._postings[other]:
                length = 1 - B + B * self._lengths[position] / self._mean_length
                score = weight * rarity * (K1 + 1) / (1 + K1 * length)
                scores[position] = max(score, scores.get(position, 0.0))
        if len(self._kept) >= KEPT_WORDS:
            self._kept.clear()
        kept = self._kept[word, last] = list(scores.items())
        return kept

    def _matches(self, word: str, last: bool) -> Iterator[tuple[str, float]]:
        if word in self._postings:
            yield word, 1.0
        elif last and len(word) > 2:
            for known in islice(self._vocabulary, bisect_left(self._vocabulary, word), None):
                if not known.startswith(word):
                    return
                yield known, PREFIX_WEIGHT
