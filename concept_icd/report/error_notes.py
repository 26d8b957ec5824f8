"""The notes with the most wrong codes: ids, what was missed and what was accepted in vain, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from concept_icd.metrics.inputs import Bools

#: Code -> places of its passages in the note, (start, end) in characters.
Passages = Mapping[str, Sequence[tuple[int, int]]]


def error_notes(
    note_ids: Sequence[str],
    codes: Sequence[str],
    gold: Bools,
    accepted: Bools,
    passages: Mapping[str, Passages],
    count: int,
) -> list[dict[str, Any]]:
    """The first `count` notes by the number of wrong codes, those with none left out; no text is in them.

    Args:
        gold, accepted: bool (notes, codes). passages: note id -> what carried its codes, where that is known.

    >>> gold, accepted = np.array([[True, False]]), np.array([[True, True]])
    >>> rows = error_notes(["a"], ["401.9", "486"], gold, accepted, {"a": {"486": [(3, 9)]}}, 1)
    >>> rows == [{"note_id": "a", "missed": [], "in_vain": [{"code": "486", "passages": [[3, 9]]}], "errors": 1}]
    True
    """
    truth, said = np.asarray(gold, dtype=bool), np.asarray(accepted, dtype=bool)
    wrong = (truth != said).sum(axis=1)
    rows = []
    for row in sorted(np.flatnonzero(wrong).tolist(), key=lambda row: (-wrong[row], note_ids[row]))[:count]:
        own = passages.get(note_ids[row], {})

        def listed(columns: Any, own: Passages = own) -> list[dict[str, Any]]:
            found = (codes[column] for column in np.flatnonzero(columns).tolist())
            return [{"code": code, "passages": [list(span) for span in own.get(code, ())]} for code in found]

        missed, in_vain = listed(truth[row] & ~said[row]), listed(said[row] & ~truth[row])
        rows.append({"note_id": note_ids[row], "missed": missed, "in_vain": in_vain, "errors": int(wrong[row])})
    return rows
