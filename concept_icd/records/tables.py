"""Results as a table with a row a code, for Arrow, pandas, polars, CSV and Parquet alike.

Narwhals speaks to the libraries of data frames; the core has none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from concept_icd.errors import InputError, MissingExtraError, did_you_mean, extras

if TYPE_CHECKING:
    import pyarrow as pa

    from concept_icd.records import CodingResult

#: Column -> its Arrow type, as pyarrow names it. Of the note: its id, what of it was not read, and whether it is unlike
#: the training notes. Passages are places in the note, "start-end", ";" between them, so that CSV holds them too.
COLUMNS = {
    "note_id": "string",
    "rank": "int32",
    "code": "string",
    "kind": "string",
    "title": "string",
    "probability": "float64",
    "accepted": "bool_",
    "expected_recall": "float64",
    "evidence": "string",
    "against": "string",
    "truncated": "string",
    "unfamiliar": "bool_",
}
LIBRARIES = ("pandas", "polars", "pyarrow")


def results_table(
    results: Iterable[CodingResult], *, top: int | None = None, accepted_only: bool = False, every_note: bool = False
) -> pa.Table:
    """The results, one after the other.

    Args:
        top: the first codes of each note alone. accepted_only: those that reached the threshold.
        every_note: a note without such a code has a row all the same, without a code.
    """
    of_notes = ((vars(result), [vars(code) for code in result.codes]) for result in results)
    return table_of(
        row
        for note, codes in of_notes
        for row in rows_of(note, codes, top=top, accepted_only=accepted_only, every_note=every_note)
    )


def rows_of(
    note: Mapping[str, Any],
    codes: Sequence[Mapping[str, Any]],
    *,
    top: int | None = None,
    accepted_only: bool = False,
    every_note: bool = False,
) -> list[dict[str, Any]]:
    """The rows of one note.

    Args:
        note, codes: a result and its codes by their fields, as `CodingResult.to_dict` has them too.
    """
    of_note = {name: note[name] for name in ("note_id", "truncated", "unfamiliar")}
    rows = [
        {**code, **of_note, "evidence": _places(code["evidence"]), "against": _places(code["against"])}
        for code in codes[:top]
        if code["accepted"] or not accepted_only
    ]
    return rows or ([of_note] if every_note else [])


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as Arrow holds them; what a row does not name is null."""
    import pyarrow as pa

    listed, schema = list(rows), schema_of_results()
    return pa.table([pa.array([row.get(field.name) for row in listed], field.type) for field in schema], schema=schema)


def schema_of_results() -> pa.Schema:
    """`COLUMNS` as Arrow has them."""
    import pyarrow as pa

    return pa.schema([(name, getattr(pa, kind)()) for name, kind in COLUMNS.items()])


def _places(spans: Iterable[Sequence[int]]) -> str | None:
    return ";".join(f"{start}-{end}" for start, end in spans) or None


def as_frame(table: pa.Table, library: str | None = None) -> Any:
    """The table as a DataFrame of a library; see `CodingResult.to_frame`."""
    if library is None:
        library = next(name for name in LIBRARIES if find_spec(name) is not None)
    if library not in LIBRARIES:
        raise InputError(f"{library!r} is none of {', '.join(LIBRARIES)}{did_you_mean(library, LIBRARIES)}")
    if library == "pyarrow":
        return table
    if find_spec(library) is None:
        raise MissingExtraError(library, "frames")
    with extras("frames"):
        import narwhals as nw

    return nw.from_arrow(table, backend=library).to_native()  # type: ignore[arg-type]
