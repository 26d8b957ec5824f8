"""Writes tables as MIMIC-III's own files look, row by row.

MIMIC-III v1.4 has upper-case headers and quotes every text; its open demo has lower-case headers and quotes only
where it must. This module knows columns and quoting, not what the rows mean.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from concept_icd.corpora.synthetic.language import Dice

#: Columns in the order of the files; a star marks text.
COLUMNS = {
    "ADMISSIONS": "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE* ADMISSION_LOCATION* "
    "DISCHARGE_LOCATION* INSURANCE* LANGUAGE* RELIGION* MARITAL_STATUS* ETHNICITY* EDREGTIME EDOUTTIME DIAGNOSIS* "
    "HOSPITAL_EXPIRE_FLAG HAS_CHARTEVENTS_DATA",
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE*",
    "D_ICD_DIAGNOSES": "ROW_ID ICD9_CODE* SHORT_TITLE* LONG_TITLE*",
    "D_ICD_PROCEDURES": "ROW_ID ICD9_CODE* SHORT_TITLE* LONG_TITLE*",
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY* DESCRIPTION* CGID ISERROR* TEXT*",
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER* DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG",
    "PRESCRIPTIONS": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTDATE ENDDATE DRUG_TYPE* DRUG* DRUG_NAME_POE* "
    "DRUG_NAME_GENERIC* FORMULARY_DRUG_CD* GSN* NDC* PROD_STRENGTH* DOSE_VAL_RX* DOSE_UNIT_RX* FORM_VAL_DISP* "
    "FORM_UNIT_DISP* ROUTE*",
    "PROCEDURES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE*",
}

Value = str | int | None


class TableFile:
    """One table that grows by rows; ROW_ID is counted here.

    Args:
        mix: how many rows wait at a time; a row that comes sends a waiting one, drawn at random, to the file. So the
            rows are out of order in a way that a reader's memory must not depend on. 0 keeps the order.
    """

    def __init__(self, folder: Path, name: str, *, compress: bool, upper_case: bool, seed: int, mix: int = 0) -> None:
        columns = COLUMNS[name].split()
        self.rows, self.name = 0, name
        self._is_text = [column.endswith("*") for column in columns]
        self._quote = _quote_always if upper_case else _quote_where_needed
        self._dice, self._mix, self._waiting = Dice(f"{seed} {name}"), mix, list[str]()
        self._file = open_text(folder / f"{name}.csv{'.gz' if compress else ''}")
        header = [column.rstrip("*") for column in columns]
        self._file.write(",".join(f'"{c}"' for c in header) if upper_case else ",".join(header).lower())
        self._file.write("\n")

    def write(self, *values: Value) -> None:
        """Adds a row; `values` are all columns but ROW_ID, None is NULL."""
        line = ",".join(
            "" if value is None else self._quote(str(value)) if text else str(value)
            for value, text in zip(values, self._is_text[1:], strict=True)
        )
        if len(self._waiting) < self._mix:
            self._waiting.append(line)
        elif self._mix:
            place = int(self._dice.roll() * self._mix)
            self._waiting[place], line = line, self._waiting[place]
            self._put(line)
        else:
            self._put(line)

    @property
    def written(self) -> int:
        """Rows so far, those that wait included."""
        return self.rows + len(self._waiting)

    def flush(self) -> None:
        """Sends all waiting rows to the file."""
        for line in self._dice.shuffled(self._waiting):
            self._put(line)
        self._waiting.clear()

    def __enter__(self) -> TableFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._file.close()

    def _put(self, line: str) -> None:
        self.rows += 1
        self._file.write(f"{self.rows},{line}\n")


def open_text(path: Path) -> io.TextIOWrapper:
    """A UTF-8 file to write, compressed where the name ends in .gz; the bytes depend on nothing but the text."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(_Gzip(path), encoding="utf-8", newline="")
    return open(path, "w", encoding="utf-8", newline="", buffering=1 << 20)


class _Gzip(gzip.GzipFile):
    """A gzip file without a name and a time in its header; closes the file below it too."""

    def __init__(self, path: Path) -> None:
        self._below = open(path, "wb")  # noqa: SIM115
        super().__init__("", "wb", compresslevel=4, fileobj=self._below, mtime=0)

    def close(self) -> None:
        super().close()
        self._below.close()


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A small file of lines, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_text(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def _quote_always(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _quote_where_needed(text: str) -> str:
    return _quote_always(text) if any(mark in text for mark in '",\n\r') else text
