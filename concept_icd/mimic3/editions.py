"""The published editions of MIMIC-III, told apart by their numbers of patients and admissions. Facts alone.

Rows: MIT-LCP/mimic-code, mimic-iii/buildmimic/postgres/postgres_checks.sql, and the demo's own documentation. Codes
without a description: MIT-LCP/mimic-code#96.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Edition -> rows of each table.
EDITIONS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "MIMIC-III 1.4": {
            "ADMISSIONS": 58_976,
            "PATIENTS": 46_520,
            "DIAGNOSES_ICD": 651_047,
            "PROCEDURES_ICD": 240_095,
            "NOTEEVENTS": 2_083_180,
            "PRESCRIPTIONS": 4_156_450,
            "D_ICD_DIAGNOSES": 14_567,
            "D_ICD_PROCEDURES": 3_882,
        },
        "the MIMIC-III demo": {
            "ADMISSIONS": 129,
            "PATIENTS": 100,
            "DIAGNOSES_ICD": 1_761,
            "PROCEDURES_ICD": 506,
            "NOTEEVENTS": 0,
            "PRESCRIPTIONS": 10_398,
            "D_ICD_DIAGNOSES": 14_567,
            "D_ICD_PROCEDURES": 3_882,
        },
        "MIMIC-III's CareVue subset": {
            "ADMISSIONS": 26_836,
            "PATIENTS": 23_692,
            "DIAGNOSES_ICD": 225_345,
            "PROCEDURES_ICD": 113_012,
            "NOTEEVENTS": 880_107,
            "PRESCRIPTIONS": 1_435_643,
            "D_ICD_DIAGNOSES": 14_567,
            "D_ICD_PROCEDURES": 3_882,
        },
    }
)
#: Edition -> other counts, by the name of their check.
COUNTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "MIMIC-III 1.4": {
            "diagnosis codes that D_ICD_DIAGNOSES lacks": 144,
            "procedure codes that D_ICD_PROCEDURES lacks": 16,
        },
        "the MIMIC-III demo": {
            "codes": 740,
            "stays with a code of the fixed 50": 127,
            "diagnosis codes that D_ICD_DIAGNOSES lacks": 20,
            "procedure codes that D_ICD_PROCEDURES lacks": 3,
        },
    }
)


def edition_of(rows: Mapping[str, int]) -> str | None:
    """Which edition's numbers of admissions and patients these are; None: nobody's."""
    for edition, known in EDITIONS.items():
        if all(rows.get(table) == known[table] for table in ("ADMISSIONS", "PATIENTS")):
            return edition
    return None
