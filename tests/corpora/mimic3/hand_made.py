"""Tables of six invented stays, small enough to work every result out by hand.

Stay 101 has its addendum before its report in the file, 102 two reports out of chart order and one marked as an error,
103 a text with quotes, line ends of both kinds and a repeat, 104 is a newborn's; 105 has codes and no summary, 106 a
summary and no code. Patient 1 has 101 and 102, patient 2 (born 300 years before, so over 89) 103 and 106, patient 3
104 and 105.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

Rows = Sequence[Sequence[object]]

ODD_TEXT = 'He said "no".\r\nLine two,\n\n  indented; [**2151-7-4**] \\ café'

TABLES: dict[str, Rows] = {
    "PATIENTS": [
        ("ROW_ID", "SUBJECT_ID", "GENDER", "DOB"),
        (1, 1, "F", "2100-06-15 00:00:00"),
        (2, 2, "M", "1850-01-01 00:00:00"),
        (3, 3, "M", "2150-03-01 00:00:00"),
    ],
    "ADMISSIONS": [
        ("ROW_ID", "SUBJECT_ID", "HADM_ID", "ADMITTIME"),
        (1, 1, 102, "2150-06-15 03:00:00"),
        (2, 1, 101, "2150-06-14 23:59:00"),
        (3, 2, 103, "2150-01-02 10:00:00"),
        (4, 3, 104, "2150-03-01 04:30:00"),
        (5, 3, 105, "2150-04-01 04:30:00"),
        (6, 2, 106, "2150-05-01 04:30:00"),
    ],
    "DIAGNOSES_ICD": [
        ("ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"),
        (1, 1, 101, 2, "4019"),
        (2, 1, 101, 10, "25000"),
        (3, 1, 101, 1, "0389"),
        (4, 1, 101, 3, "4019"),  # a repeat
        (5, 1, 102, 1, "E8889"),  # no label of the fixed 50
        (6, 1, 102, 2, "V1582"),
        (7, 2, 103, "", "585"),  # retired; without a place, so last
        (8, 2, 103, 1, "4280"),
        (9, 3, 104, 1, "V3000"),
        (10, 3, 105, 1, "4280"),
        (11, 2, 106, 1, ""),  # a row without a code
    ],
    "PROCEDURES_ICD": [
        ("ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"),
        (1, 1, 101, 1, "9671"),
        (2, 1, 101, 2, "0407"),
        (3, 2, 103, 1, "0066"),
        (4, 2, 103, 2, "3601"),  # retired
        (5, 2, 103, 3, "0066"),  # a repeat
        (6, 3, 104, 1, "9955"),
    ],
    "PRESCRIPTIONS": [
        ("ROW_ID", "SUBJECT_ID", "HADM_ID", "DRUG"),
        (1, 1, 101, "Metoprolol"),
        (2, 1, 101, "Heparin, flush"),
        (3, 1, 101, "Metoprolol"),
        (4, 2, 103, ""),
        (5, 2, "", "Insulin"),
    ],
    "D_ICD_DIAGNOSES": [
        ("ROW_ID", "ICD9_CODE", "SHORT_TITLE"),
        *((i, code, "x") for i, code in enumerate(("4019", "25000", "0389", "E8889", "V1582", "4280", "V3000"))),
    ],
    "D_ICD_PROCEDURES": [
        ("ROW_ID", "ICD9_CODE", "SHORT_TITLE"),
        *((i, code, "x") for i, code in enumerate(("9671", "0407", "0066", "9955"))),
    ],
    "NOTEEVENTS": [
        ("ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "DESCRIPTION", "ISERROR", "TEXT"),
        (1, 1, 101, "2150-06-20", "", "Discharge summary", "Addendum", "", "addendum of 101"),
        (2, 1, 101, "2150-06-20", "", "Discharge summary", "Report", "", "report of 101"),
        (3, 1, 101, "2150-06-15", "", "Nursing", "Report", "", "not to be read"),
        (4, 1, 102, "2150-07-02", "", "Discharge summary", "Report", "", "second of 102"),
        (5, 1, 102, "2150-07-01", "", "Discharge summary", "Report", "", "first of 102"),
        (6, 1, 102, "2150-07-01", "", "Discharge summary", "Report", 1, "an error"),
        (7, 2, 103, "2150-01-09", "", "Discharge summary", "Report", "", ODD_TEXT),
        (8, 2, 103, "2150-01-09", "", "Discharge summary", "Report", "", ODD_TEXT),
        (9, 3, 104, "2150-03-09", "", "Discharge summary", "Report", "", "summary of 104"),
        (10, 2, 106, "2150-05-09", "", "Discharge summary", "Report", "", "summary of 106"),
        (11, 2, "", "2150-05-09", "", "Discharge summary", "Report", "", "of no stay"),
        (12, 2, 106, "2150-05-09", "", "Discharge summary", "Addendum", "", " \n"),
        (13, 2, 105, "2150-05-09", "", "Discharge Summary", "Report", "", "another category"),
    ],
}

#: 105 has no summary, 999 is no stay.
LISTS = {"train": (101, 102), "dev": (103,), "test": (104, 105, 999)}


def write_tables(folder: Path, *, lower_case: bool = False, gzipped: bool = False, **tables: Rows | None) -> Path:
    """Writes the tables; a keyword puts another table, or None for none, in the place of one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {**TABLES, **tables}.items():
        if rows is None:
            continue
        path = folder / f"{name.lower() if lower_case else name}.csv{'.gz' if gzipped else ''}"
        with gzip.open(path, "wt", newline="") if gzipped else path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            header, *others = rows
            writer.writerow([str(name).lower() if lower_case else name for name in header])
            writer.writerows(others)
    return folder


def write_lists(folder: Path, size: str = "50", **lists: Sequence[int]) -> Path:
    """Writes CAML's lists."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, ids in {**LISTS, **lists}.items():
        (folder / f"{split}_{size}_hadm_ids.csv").write_text("".join(f"{stay}\n" for stay in ids))
    return folder


def without_rows(name: str, *rows: Sequence[object], keep: int = 1) -> Rows:
    """The first `keep` rows of a table (its header), then `rows`."""
    return [*TABLES[name][:keep], *rows]
