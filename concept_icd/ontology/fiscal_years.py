"""Fiscal years, by which editions are named: from 1 October to 30 September, named after the year they end in."""

from __future__ import annotations

from datetime import date


def fiscal_year(day: date) -> int:
    """The year a day lies in.

    >>> fiscal_year(date(2016, 9, 30)), fiscal_year(date(2016, 10, 1))
    (2016, 2017)
    """
    return day.year + (day.month >= 10)


def first_day(year: int) -> date:
    """Of a fiscal year."""
    return date(year - 1, 10, 1)


def last_day(year: int) -> date:
    """Of a fiscal year."""
    return date(year, 9, 30)


def days_of(first_and_last: str) -> tuple[date, date]:
    """The days of a table's "2016/2026", where either may also be a day.

    >>> days_of("2016/2020-12-31")
    (datetime.date(2015, 10, 1), datetime.date(2020, 12, 31))
    """
    first, _, last = first_and_last.partition("/")
    return (
        first_day(int(first)) if first.isdigit() else date.fromisoformat(first),
        last_day(int(last)) if last.isdigit() else date.fromisoformat(last),
    )


def in_words(days: tuple[date, date]) -> str:
    """ "in the fiscal years 2016 to 2020", with days where they are not a year's first and last."""
    first, last = (fiscal_year(day) for day in days)
    if days == (first_day(first), last_day(last)):
        return f"in the fiscal year {first}" if first == last else f"in the fiscal years {first} to {last}"
    return f"from {days[0]} to {days[1]}"
