r"""BM25 (Robertson and Zaragoza, 2009, "The probabilistic relevance framework"), over bm25s: one set of constants.

\[ \mathrm{BM25}(q, d) = \sum_{w \in q} \mathrm{idf}(w)\,
   \frac{\mathrm{tf}}{\mathrm{tf} + k_1 (1 - b + b\,|d| / \mathrm{mean}\,|d|)}, \qquad
   \mathrm{idf}(w) = \log\Big(1 + \frac{N - n_w + 0.5}{n_w + 0.5}\Big) \]

where \(n_w\) of the \(N\) texts hold the word \(w\), tf times in \(d\). `search` needs prefixes of words, which bm25s
does not have, and shares constants and idf.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from concept_icd.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

K1, B = 1.2, 0.75


def idf(holding: int, texts: int) -> float:
    """How rare a word is that `holding` of `texts` texts hold.

    >>> round(idf(1, 100), 2), round(idf(50, 100), 2)
    (4.21, 0.69)
    """
    return math.log1p((texts - holding + 0.5) / (holding + 0.5))


class Bm25:
    """Texts by their words.

    Args:
        texts: the words of each, mostly `stems`.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise MissingExtraError("bm25s", "phrases") from error
        self._texts = len(texts)
        self._holding = Counter(word for words in texts for word in set(words))
        self._index = bm25s.BM25(k1=K1, b=B, method="lucene")
        # A word that no text has, since an index of no words at all is refused.
        self._index.index([[*words, ""] for words in texts], show_progress=False)

    def idf(self, word: str) -> float:
        """Of a word of these texts; one that none of them has counts as one that a single text has."""
        return idf(self._holding.get(word, 1), self._texts)

    def scores(self, words: Iterable[str]) -> np.ndarray:
        """BM25 of a query, each word once, in each text: float32, shape (texts,)."""
        import numpy as np

        known = [word for word in dict.fromkeys(words) if word in self._holding]
        return np.asarray(self._index.get_scores(known)) if known else np.zeros(self._texts, dtype=np.float32)
