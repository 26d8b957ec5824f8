"""Notes out of a table, and their codes as a table of the same library: pandas, polars, Arrow, `datasets`.

Narwhals reads and makes the data frames. A `datasets.Dataset` is Arrow inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from concept_icd.coder.inputs import require_unique
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError, did_you_mean, extras
from concept_icd.records import CodingResult, Note, OneLine
from concept_icd.records.tables import results_table

if TYPE_CHECKING:
    import pyarrow as pa

#: Results that are held as records before they go into the table.
_PART = 256


@dataclass(frozen=True, repr=False)
class NotesOfFrame(OneLine):
    """The notes of a table, each under the number of its row.

    Attributes:
        ids: what the table calls them, a row each. id_name: that column's name in the answer.
        made: an Arrow table as one of the library that the notes came from.
    """

    notes: list[Note]
    ids: pa.ChunkedArray
    id_name: str
    made: Callable[[pa.Table], Any]

    def answer(self, results: Iterable[CodingResult], *, top: int | None, accepted_only: bool) -> Any:
        """The results of these notes, a row a code; see `CallableCoder.code_frame`."""
        import pyarrow as pa

        left, parts = iter(results), [results_table([])]
        while some := list(islice(left, _PART)):
            parts.append(results_table(some, top=top, accepted_only=accepted_only))
        table = pa.concat_tables(parts)
        ids = self.ids.take(table.column("note_id").cast(pa.int64()))
        return self.made(table.set_column(0, self.id_name, ids))


def notes_of_frame(frame: Any, columns: Mapping[str, str]) -> NotesOfFrame:
    """The notes of a table.

    Args:
        columns: field of a `Note` -> its column, "text" among them.

    Raises:
        TypeError: it is no table. InputError: a column is missing, a row is no note, or an id stands there twice.
    """
    import pyarrow as pa

    table, made = _as_arrow(frame, list(columns.values()))
    cells = {name: table.column(column).to_pylist() for name, column in columns.items()}
    given = cells.pop("note_id", None)
    names = [f"row {row}" if given is None else f"row {row} ({given[row]!r})" for row in range(table.num_rows)]
    if given is not None:
        if None in given:
            raise InputError(f"row {given.index(None)} has no id in the column {columns['note_id']!r}")
        require_unique(given)
    notes = []
    for row, where in enumerate(names):
        try:
            notes.append(_note(row, {name: values[row] for name, values in cells.items()}))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    ids = pa.chunked_array([range(len(notes))], pa.int64()) if given is None else table.column(columns["note_id"])
    return NotesOfFrame(notes, ids, columns.get("note_id", "row"), made)


def _note(row: int, cells: dict[str, Any]) -> Note:
    text, drugs = cells["text"], cells.get("drugs") or ()
    if not isinstance(text, str):
        raise InputError("there is no text" if text is None else f"the text is of the type {type(text).__name__}")
    if reason := flaw(text):
        raise InputError(reason)
    age, sex = (
        None if isinstance(value, float) and math.isnan(value) else value for value in map(cells.get, ("age", "sex"))
    )
    names = drugs.split(";") if isinstance(drugs, str) else drugs
    return Note(str(row), text, age=age, sex=sex, drugs=tuple(name.strip() for name in names))


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _as_arrow(frame: Any, wanted: list[str]) -> tuple[pa.Table, Callable[[pa.Table], Any]]:
    """The columns in Arrow, and the way back."""
    if type(frame).__module__.partition(".")[0] == "datasets" and hasattr(frame, "column_names"):
        if not isinstance(frame.column_names, list):
            raise TypeError("code_frame takes one split of a dataset, not all of them: dataset['test']")
        _require(wanted, frame.column_names)
        from datasets import Dataset

        return frame.select_columns(wanted).with_format("arrow")[:], Dataset
    with extras("frames"):
        import narwhals as nw

    try:
        found = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        kinds = "a DataFrame of pandas or polars, a pyarrow.Table or a datasets.Dataset"
        more = ": .collect() it first" if hasattr(frame, "collect") else ""
        raise TypeError(f"code_frame takes {kinds}, not a {type(frame).__name__}{more}") from error
    _require(wanted, found.columns)
    native, library = found.select(dict.fromkeys(wanted)).to_arrow(), found.implementation
    return native, lambda table: nw.from_arrow(table, backend=library).to_native()


def _require(wanted: Iterable[str], names: Iterable[str]) -> None:
    known = [str(name) for name in names]
    for name in wanted:
        if name not in known:
            listed = ", ".join(known[:10])
            raise InputError(f"the table has no column {name!r}{did_you_mean(name, known)}; it has {listed}")
