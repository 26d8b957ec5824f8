"""The figures of the CodiEsp track (CLEF eHealth 2020) exactly as its organisers' scripts compute them.

Source: Miranda-Escalada et al., 2020, "Overview of automatic clinical coding: annotations, guidelines, and solutions
for non-English clinical cases at CodiEsp track of CLEF eHealth 2020", and the track's own scripts (the repository
TeMU-BSC/codiesp-evaluation-script, with trectools for MAP), which also decide what the paper leaves open. Unlike the
other figures, they are over sets of codes by case, as the scripts read them:

- Codes are compared in lower case. Predictions that the track's list of valid codes lacks are dropped first; gold codes
  never are. Of a code that is predicted twice for a case, the first counts.
- MAP is a mean over the cases that have a gold code and a prediction that is left. A case without any prediction is
  left out of it, and does not count as 0; `cases` says how many are in.
- Precision, recall and F1 are over all pairs of case and code, those of cases without gold included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

#: Case -> its codes. Ranked where it says so, best first.
Codes = Mapping[str, Sequence[str]]
#: Characters of the Spanish text, of the first to the last part of a mention: what lies between counts as part of it.
Reference = tuple[int, int]
#: Characters by which a predicted passage may begin before, or end after, the gold one.
TOLERANCE = 10
#: trectools' depth: later codes of a case are not looked at.
DEPTH = 1000


@dataclass(frozen=True)
class MeanAveragePrecision:
    """MAP, and the number of cases that it is the mean of."""

    value: float
    cases: int


@dataclass(frozen=True)
class MicroScores:
    """Over pairs of case and code, each in [0, 1]; None where nothing was predicted, or nothing is gold."""

    precision: float | None
    recall: float | None
    f1: float | None


def mean_average_precision(gold: Codes, ranked: Codes, valid: Collection[str] | None = None) -> MeanAveragePrecision:
    """Tasks D and P.

    Args:
        valid: the track's list of codes; None drops nothing.

    >>> mean_average_precision({"a": ["i10", "e11.9"], "b": ["r52"]}, {"a": ["I10", "j45", "E11.9"]})
    MeanAveragePrecision(value=0.8333333333333333, cases=1)
    """
    allowed = _lower(valid)
    found: list[float] = []
    for case, codes in gold.items():
        true, hits, total = set(map(str.lower, codes)), 0, 0.0
        predicted = _unique(ranked.get(case, ()), allowed)[:DEPTH]
        if not true or not predicted:
            continue
        for rank, code in enumerate(predicted, 1):
            if code in true:
                hits += 1
                total += hits / rank
        found.append(total / len(true))
    return MeanAveragePrecision(sum(found) / len(found) if found else 0.0, len(found))


def micro_scores(gold: Codes, predicted: Codes, valid: Collection[str] | None = None) -> MicroScores:
    """Tasks D and P; `predicted` are the codes that a system decides for, in any order.

    >>> micro_scores({"a": ["i10", "e11.9"]}, {"a": ["I10", "i10", "j45"], "b": ["r52"]})
    MicroScores(precision=0.3333333333333333, recall=0.5, f1=0.4)
    """
    allowed = _lower(valid)
    true = {(case, code.lower()) for case, codes in gold.items() for code in codes}
    said = {(case, code) for case, codes in predicted.items() for code in _unique(codes, allowed)}
    return _scores(len(true & said), len(said), len(true))


def explained_micro_scores(
    gold: Mapping[str, Iterable[tuple[str, Reference]]],
    predicted: Mapping[str, Iterable[tuple[str, Reference]]],
    valid: Collection[str] | None = None,
) -> MicroScores:
    """Task X: a code counts where one of its predicted passages holds one of its gold ones, and little more.

    "Little more" is `TOLERANCE` characters at most before its beginning, and as many after its end. Of a code of a case
    with several gold passages, one is enough.

    >>> explained_micro_scores({"a": [("i10", (20, 30))]}, {"a": [("i10", (15, 40)), ("i10", (22, 30))]})
    MicroScores(precision=1.0, recall=1.0, f1=1.0)
    """
    allowed = _lower(valid)
    true = {(case, code.lower()) for case, mentions in gold.items() for code, _ in mentions}
    said: dict[tuple[str, str], list[Reference]] = {}
    for case, mentions in predicted.items():
        for code, reference in mentions:
            if allowed is None or code.lower() in allowed:
                said.setdefault((case, code.lower()), []).append(reference)
    right = {
        (case, code.lower())
        for case, mentions in gold.items()
        for code, (start, end) in mentions
        for begun, ended in said.get((case, code.lower()), ())
        if 0 <= start - begun <= TOLERANCE and 0 <= ended - end <= TOLERANCE
    }
    return _scores(len(right), len(said), len(true))


def _scores(right: int, said: int, true: int) -> MicroScores:
    precision = right / said if said else None
    recall = right / true if true else None
    if precision is None or recall is None:
        return MicroScores(precision, recall, None)
    both = precision + recall
    return MicroScores(precision, recall, 2 * precision * recall / both if both else 0.0)


def _lower(codes: Collection[str] | None) -> frozenset[str] | None:
    return None if codes is None else frozenset(map(str.lower, codes))


def _unique(codes: Iterable[str], allowed: Collection[str] | None) -> list[str]:
    first = dict.fromkeys(code.lower() for code in codes)
    return [code for code in first if allowed is None or code in allowed]
