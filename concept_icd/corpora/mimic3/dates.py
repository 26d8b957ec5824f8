"""Dates of tables, read where their form leaves no doubt: 2012-03-04, 2012/03/04, 20120304; a time may follow.

03/04/2012 is March or April: no rule finds that out, and an age that is silently lost or wrong is worse than a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.tables import Table
from concept_icd.errors import InputError

if TYPE_CHECKING:
    import duckdb

#: Years of a date that is written without separators: 03042012 must not become the year 304.
FIRST_YEAR, LAST_YEAR = 1700, 2400
_SEPARATED = r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})([T ].*)?$"
_TOGETHER = r"^(\d{4})(\d{2})(\d{2})(\d{4}|\d{6})?(\.0*)?$"
#: Stands for a date that is not known: words without a digit (NULL, unknown), or nothing but noughts (0000-00-00).
_NOTHING = r"[^1-9]*"


def date_of(column: str) -> str:
    """SQL of a text column's DATE: NULL where it is empty or not written in one of the forms."""

    def read(form: str) -> str:
        return f"try_cast(regexp_replace({column}, '{form}', '\\1-\\2-\\3') AS DATE)"

    return (
        f"CASE WHEN regexp_matches({column}, '{_SEPARATED}') THEN {read(_SEPARATED)} "
        f"WHEN regexp_matches({column}, '{_TOGETHER}') "
        f"AND year({read(_TOGETHER)}) BETWEEN {FIRST_YEAR} AND {LAST_YEAR} THEN {read(_TOGETHER)} END"
    )


def require_dates(connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[str]) -> None:
    """Checks columns of dates of a loaded table (its name is the table's in lower case); an empty date is no fault.

    Raises:
        InputError: a date is written in another form (how many of how many; none is quoted).
    """
    for column in columns:
        filled = f"{column} IS NOT NULL AND NOT regexp_full_match({column}, '{_NOTHING}')"
        there, unread = connection.execute(f"""
            SELECT count(*) FILTER ({filled}), count(*) FILTER ({filled} AND {date_of(column)} IS NULL)
            FROM {table.name.lower()}
        """).fetchall()[0]
        if unread:
            raise InputError(told_dates(table.path, column, unread, there))


def told_dates(path: Path, column: str, unread: int = 0, there: int = 0) -> str:
    """The sentence on a column with dates that cannot be read, all or some; it quotes none."""
    place = f"dates in column {column.upper()}"
    what = f"none of the {place} can be read" if unread == there else f"{unread:,} of {there:,} {place} cannot be read"
    return (
        f"{path}: {what}; write them as year-month-day, such as 2150-03-14 or 2150-03-14 08:30:00 (20150314 is read "
        "too), and leave empty what is not known"
    )
