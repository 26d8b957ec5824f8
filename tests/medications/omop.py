"""Writes MIMIC-III's tables as OMOP CDM tables with a small vocabulary: the same stays in the other shape."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from concept_icd.medications.drug_names import ingredients_of
from concept_icd.ontology.code_shapes import ICD9CM

SEX = {"F": 8532, "M": 8507}
DRUGS, INGREDIENTS, CODES = 10_000, 500_000, 44_000_000


def read_rows(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table of MIMIC-III, by lower-case columns."""
    path = next(path for path in folder.iterdir() if path.name.lower().split(".")[0] == name.lower())
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        return [{key.lower(): value for key, value in row.items()} for row in csv.DictReader(file)]


def omop_tables(mimic: Path) -> dict[str, list[tuple]]:
    """Table -> its header and rows. Every other condition has no source concept, so only its value tells the code."""
    prescriptions, diagnoses = read_rows(mimic, "PRESCRIPTIONS"), read_rows(mimic, "DIAGNOSES_ICD")
    names = sorted({row["drug"] for row in prescriptions if row["drug"]})
    ingredients = sorted({ingredient for name in names for ingredient in ingredients_of(name)})
    codes = sorted({row["icd9_code"] for row in diagnoses if row["icd9_code"]})
    drug_id = {name: DRUGS + number for number, name in enumerate(names)}
    ingredient_id = {name: INGREDIENTS + number for number, name in enumerate(ingredients)}
    code_id = {code: CODES + number for number, code in enumerate(codes)}
    dotted = ICD9CM[0].add_dot
    concepts = [(number, name, "RxNorm", "Clinical Drug", str(number)) for name, number in drug_id.items()]
    concepts += [(number, name.title(), "RxNorm", "Ingredient", str(number)) for name, number in ingredient_id.items()]
    concepts += [(number, "a diagnosis", "ICD9CM", "4-dig billing code", dotted(c)) for c, number in code_id.items()]
    above = [(ingredient_id[i], drug_id[name]) for name in names for i in ingredients_of(name)]
    above += [(number, number) for number in (*drug_id.values(), *ingredient_id.values())]
    births = {row["subject_id"]: row for row in read_rows(mimic, "PATIENTS")}
    return {
        "person": [
            ("person_id", "gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth"),
            *(
                (int(who), SEX[row["gender"]], *(int(part) for part in row["dob"][:10].split("-")))
                for who, row in births.items()
            ),
        ],
        "visit_occurrence": [
            ("visit_occurrence_id", "person_id", "visit_concept_id", "visit_start_date"),
            *(
                (int(row["hadm_id"]), int(row["subject_id"]), 9201, row["admittime"][:10])
                for row in read_rows(mimic, "ADMISSIONS")
            ),
        ],
        "drug_exposure": [
            ("drug_exposure_id", "person_id", "visit_occurrence_id", "drug_concept_id", "drug_source_value"),
            *(
                (n, int(row["subject_id"]), int(row["hadm_id"]), drug_id[row["drug"]], row["drug"])
                for n, row in enumerate(prescriptions)
                if row["hadm_id"] and row["drug"]
            ),
        ],
        "condition_occurrence": [
            ("condition_occurrence_id", "visit_occurrence_id", "condition_source_value", "condition_source_concept_id"),
            *(
                (n, int(row["hadm_id"]), row["icd9_code"] if n % 2 else "", 0 if n % 2 else code_id[row["icd9_code"]])
                for n, row in enumerate(diagnoses)
                if row["icd9_code"]
            ),
        ],
        "concept": [("concept_id", "concept_name", "vocabulary_id", "concept_class_id", "concept_code"), *concepts],
        "concept_ancestor": [("ancestor_concept_id", "descendant_concept_id"), *above],
    }


def write_omop(folder: Path, tables: dict[str, list[tuple]], form: str = "csv") -> Path:
    """Writes tables as "csv", "athena" (tabs, no quoting, upper-case names) or "parquet"."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, *rows) in tables.items():
        if form == "parquet":
            columns = zip(*rows, strict=True) if rows else [[] for _ in header]
            pq.write_table(pa.table(dict(zip(header, map(list, columns), strict=True))), folder / f"{name}.parquet")
        elif form == "athena":
            lines = ["\t".join("" if value is None else str(value) for value in row) for row in (header, *rows)]
            (folder / f"{name.upper()}.csv").write_text("\n".join(lines) + "\n")
        else:
            with (folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return folder
