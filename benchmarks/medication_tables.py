"""Seconds and peak memory of `concept-icd medications prepare` on invented tables of MIMIC-III's full size.

    python benchmarks/medication_tables.py --out benchmarks/results/medication_tables.json

The tables are written from generated stays (0.8 GB of disk), each ingredient in several spellings, so that what is read
back can be compared with what was generated. The command runs in a process of its own, whose peak resident memory the
system counts: Python and DuckDB together.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import arguments, costed, costs_of, finish, parser_of, rounded

from concept_icd.medications.folder import PreparedStays, load_stays
from concept_icd.medications.synthetic import INGREDIENTS, SyntheticStays, synthetic_stays

SPELLINGS = ("{}", "{} HCl", "NEO*IV*{}", "{} 5 mg Tab (Liquid)")
SERVICE = {"newborn": "NB", "surgical": "CSURG", "medical": "MED"}
DRUG_COLUMNS = (
    "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,STARTDATE,ENDDATE,DRUG_TYPE,DRUG,DRUG_NAME_POE,DRUG_NAME_GENERIC,"
    "FORMULARY_DRUG_CD,GSN,NDC,PROD_STRENGTH,DOSE_VAL_RX,DOSE_UNIT_RX,FORM_VAL_DISP,FORM_UNIT_DISP,ROUTE"
)


def drug_name(number: int) -> str:
    """A word without digits: they are read as strengths."""
    syllables = [consonant + vowel for consonant in "bcdfglmnprstvz" for vowel in "aeiou"]
    return f"{syllables[number // 70]}{syllables[number % 70]}xomab".capitalize()


def write_tables(folder: Path, made: SyntheticStays, rows: int, seed: int) -> None:
    """MIMIC-III's tables of generated stays, with so many rows of PRESCRIPTIONS."""
    stays, rng = made.stays, np.random.default_rng(seed)
    drugs = stays.inputs[:, :INGREDIENTS].tocoo()
    extra = rng.integers(drugs.nnz, size=max(0, rows - drugs.nnz))
    places = rng.permutation(np.concatenate([np.arange(drugs.nnz), extra]))
    spelling = rng.integers(len(SPELLINGS), size=len(places))
    names = [[form.format(drug_name(number)) for form in SPELLINGS] for number in range(INGREDIENTS)]

    def prescriptions() -> Iterator[str]:
        yield DRUG_COLUMNS
        columns = (drugs.row[places].tolist(), drugs.col[places].tolist(), spelling.tolist())
        for number, (stay, drug, form) in enumerate(zip(*columns, strict=True)):
            name = names[drug][form]
            yield (
                f"{number},{stays.patient_ids[stay]},{stays.stay_ids[stay]},,2150-01-01 00:00:00,2150-01-03 00:00:00,"
                f'"MAIN","{name}","{name}","{name}","CODE5","048548","00006494300","5mg Tablet","5","mg","1","TAB","PO"'
            )

    age = np.rint(stays.inputs[:, [INGREDIENTS + 1]].toarray()[:, 0] * 89).astype(int)
    female = stays.inputs[:, [INGREDIENTS]].toarray()[:, 0] > 0
    born = {
        patient: f'{patient},"{"F" if sex else "M"}",{1850 if years >= 89 else 2150 - years}-01-01 00:00:00'
        for patient, sex, years in zip(stays.patient_ids, female, age.tolist(), strict=True)
    }
    bills = [
        [made.rule.codes[column] for column in own] for own in np.split(made.billed.indices, made.billed.indptr[1:-1])
    ]
    tables = {
        "PATIENTS": ["SUBJECT_ID,GENDER,DOB", *born.values()],
        "ADMISSIONS": [
            "SUBJECT_ID,HADM_ID,ADMITTIME",
            *(f"{who},{stay},2150-06-01 10:00:00" for who, stay in zip(stays.patient_ids, stays.stay_ids, strict=True)),
        ],
        "DIAGNOSES_ICD": [
            "HADM_ID,SEQ_NUM,ICD9_CODE",
            *(
                f'{stay},{place},"{code.replace(".", "")}"'
                for stay, own in zip(stays.stay_ids, bills, strict=True)
                for place, code in enumerate(own, 1)
            ),
        ],
        "SERVICES": [
            "HADM_ID,TRANSFERTIME,CURR_SERVICE",
            *(
                f"{stay},2150-06-01,{SERVICE[ward or '']}"
                for stay, ward in zip(stays.stay_ids, stays.wards, strict=True)
            ),
        ],
        "PRESCRIPTIONS": prescriptions(),
    }
    for name, lines in tables.items():
        with (folder / f"{name}.csv").open("w") as file:
            file.writelines(f"{line}\n" for line in lines)


def same(read: PreparedStays, made: SyntheticStays) -> bool:
    """Whether ingredients, sexes, ages (to a year: stays begin within it), wards and targets are as generated."""
    written = {f"drug:{drug_name(number).lower()}": number for number in range(INGREDIENTS)}
    order = [
        written.get(name, {"female": INGREDIENTS, "age": INGREDIENTS + 1}.get(name, -1))
        for name in read.stays.input_names
    ]
    difference = abs(made.stays.inputs[:, order] - read.stays.inputs)
    gold = made.targets.nodes == read.targets.nodes and (made.targets.gold != read.targets.gold).nnz == 0
    return bool(gold and min(order) >= 0 and difference.max() < 1 / 89 and made.stays.wards == read.stays.wards)


def main() -> None:
    args = arguments(parser_of(__doc__, stays=58_976, rows=4_156_450))
    generating, made = costed(synthetic_stays, args.stays, args.seed)
    with tempfile.TemporaryDirectory(prefix="medication-tables-") as name:
        folder = Path(name)
        write_tables(folder, made, args.rows, args.seed)
        out = folder / "prepared"
        command = [sys.executable, "-m", "concept_icd.cli.main", "medications", "prepare"]
        reading = costs_of([*command, "--mimic-dir", str(folder), "--out", str(out)])
        peak = reading.pop("peak_gib")
        loading, read = costed(load_stays, out)
        seconds = {"generate the stays": generating, "read the tables": reading, "load the folder": loading}
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "stays": args.stays,
            "prescription_rows": args.rows,
            "prescriptions_bytes": (folder / "PRESCRIPTIONS.csv").stat().st_size,
            "drug_names": read.manifest["counts"]["drug names read"],
            "ingredients": read.manifest["counts"]["ingredients"],
            "nodes": read.manifest["counts"]["nodes"]["all"],
            "seconds": {what: rounded(own, 1) for what, own in seconds.items()},
            "load_average": round(os.getloadavg()[1], 1),  # others on the machine lengthen the wall time
            "peak_gib": peak,
            "written_bytes": sum(path.stat().st_size for path in out.iterdir()),
            "read_back_as_generated": same(read, made),
        }
    finish(args, result)


if __name__ == "__main__":
    main()
