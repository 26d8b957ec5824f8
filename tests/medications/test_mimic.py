"""Stays from MIMIC-III's tables: six by hand, the demo, and bad input."""

import csv

import numpy as np
import pytest

from concept_icd.corpora.mimic3.tables import database
from concept_icd.errors import InputError
from concept_icd.medications.mimic import find_mimic_tables, read_mimic_tables
from concept_icd.medications.targets import level_counts, roll_up
from concept_icd.ontology.tree import load_ontology
from tests.corpora.mimic3.hand_made import without_rows, write_tables
from tests.medications.omop import write_omop

pytest.importorskip("duckdb")

SERVICES = [
    ("ROW_ID", "SUBJECT_ID", "HADM_ID", "TRANSFERTIME", "CURR_SERVICE"),
    (1, 1, 101, "2150-06-15 10:00:00", "CSURG"),
    (2, 1, 101, "2150-06-15 00:00:00", "MED"),  # earlier, but any surgery makes a stay surgical
    (3, 1, 102, "2150-07-01 00:00:00", "TRAUM"),
    (4, 3, 104, "2150-03-01 04:30:00", "SURG"),
    (6, 3, 104, "2150-03-02 04:30:00", "NB"),  # any service of newborns comes before that
    (5, 3, 105, "2150-04-01 04:30:00", "OBS"),
]
HEADER = ("ROW_ID", "HADM_ID", "DRUG", "NDC")


def read(folder, vocabulary=None):
    tables, own = find_mimic_tables(folder, vocabulary)
    with database(1 << 29, folder.parent / "out") as connection:
        return read_mimic_tables(connection, tables, own)


def drugs(stays):
    """Stay -> its ingredients."""
    return {
        stay: {stays.input_names[column].removeprefix("drug:") for column in stays.inputs[[row]].indices}
        - {"female", "age"}
        for row, stay in enumerate(stays.stay_ids)
    }


@pytest.mark.parametrize("lower_case", [False, True])
def test_six_stays(tmp_path, lower_case):
    found = read(write_tables(tmp_path / "raw", lower_case=lower_case, gzipped=lower_case, SERVICES=SERVICES))
    stays = found.stays
    assert stays.stay_ids == ("101", "102", "103", "104", "105", "106")
    assert stays.patient_ids == ("1", "1", "2", "3", "3", "2")
    assert stays.input_names == ("drug:heparin", "drug:metoprolol", "female", "age")
    year = 365.25
    assert np.allclose(
        stays.inputs.toarray(),
        [
            [1, 1, 1, 18_261 / year / 89],  # the day before her 50th birthday: 50 x 365 days, 12 of leap years, less 1
            [0, 0, 1, 18_262 / year / 89],
            [0, 0, 0, 1],  # 300 years old in the table
            [0, 0, 0, 0],  # a newborn
            [0, 0, 0, 31 / year / 89],
            [0, 0, 0, 1],
        ],
    )
    assert stays.inputs.dtype == np.float32
    assert stays.wards == ("surgical", "surgical", None, "newborn", "medical", None)  # obstetrics are medical
    assert found.billed["101"] == ("038.9", "401.9", "250.00")
    assert found.counts["stays above 89 years"] == 2
    assert found.counts["stays with drugs"] == 1
    assert found.counts["drug rows"] == 5
    assert found.counts["drug rows of no stay"] == 1
    assert found.counts["drug rows without concept and name"] == 1
    assert found.counts["diagnosis rows without a code"] == 1


def test_what_is_not_known_is_counted_and_goes_on(tmp_path):
    patients = without_rows("PATIENTS", (1, 1, "", "2100-06-15"), (2, 2, "M", ""), (3, 3, "M", "2153-01-01"))
    found = read(write_tables(tmp_path / "raw", PATIENTS=patients))
    assert found.counts["stays without an age"] == 4  # of patient 2, and of 3, whose birth comes after the stay
    assert found.counts["stays without a sex"] == 2
    assert not found.stays.inputs.toarray()[:, -2].any()  # what is not known is not female
    assert found.stays.inputs.toarray()[:, -1].tolist() == pytest.approx(
        [18_261 / 365.25 / 89, 18_262 / 365.25 / 89, 0.5, 0.5, 0.5, 0.5]
    )
    assert found.counts["stays without a ward"] == 6  # there is no SERVICES


@pytest.mark.parametrize("dialect", [{"line_end": "\r\n"}, {"delimiter": ";"}])
def test_tables_of_other_programs(tmp_path, dialect):
    """CRLF, and semicolons, whatever stands inside quotes."""
    folder = write_tables(tmp_path / "raw", SERVICES=SERVICES)
    expected = read(folder)
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        with path.open("w", newline="") as file:
            csv.writer(
                file, delimiter=dialect.get("delimiter", ","), lineterminator=dialect.get("line_end", "\n")
            ).writerows(rows)
    found = read(folder)
    assert np.array_equal(found.stays.inputs.toarray(), expected.stays.inputs.toarray())
    assert (found.billed, found.stays.wards, found.counts) == (expected.billed, expected.stays.wards, expected.counts)


@pytest.mark.parametrize(
    ("table", "row", "told"),
    [
        ("PATIENTS", (1, 1, "F", "15/06/2100"), r"PATIENTS\.csv: none of the dates in column DOB"),
        ("ADMISSIONS", (1, 1, 102, "06/15/2150"), r"ADMISSIONS\.csv: none of the dates in column ADMITTIME"),
    ],
)
def test_dates_that_are_not_sure_are_refused(tmp_path, table, row, told):
    with pytest.raises(InputError, match=told):
        read(write_tables(tmp_path / "raw", **{table: without_rows(table, row)}))


def test_no_prescription_at_all_leaves_sex_and_age(tmp_path):
    found = read(write_tables(tmp_path / "raw", PRESCRIPTIONS=[HEADER]))
    assert found.stays.input_names == ("female", "age")
    assert found.stays.inputs.shape == (6, 2)
    assert found.counts["stays with drugs"] == 0


def test_tables_that_cannot_do(tmp_path):
    with pytest.raises(InputError, match=r"lacks PRESCRIPTIONS\.csv\[\.gz\]$"):
        read(write_tables(tmp_path / "a", PRESCRIPTIONS=None))
    with pytest.raises(InputError, match="has no column DRUG; it has row_id, hadm_id"):
        read(write_tables(tmp_path / "b", PRESCRIPTIONS=[("ROW_ID", "HADM_ID"), (1, 101)]))
    with pytest.raises(InputError, match=r"HADM_ID '101\.0' is no whole number"):
        read(write_tables(tmp_path / "c", PRESCRIPTIONS=[HEADER, (1, "101.0", "Aspirin", "")]))
    with pytest.raises(InputError, match="codes were turned into numbers"):
        read(write_tables(tmp_path / "d", DIAGNOSES_ICD=without_rows("DIAGNOSES_ICD", (1, 1, 101, 1, "4280.0"))))


def test_ingredients_by_ndc_through_a_vocabulary(tmp_path):
    """A combination has two ingredients, what the vocabulary lacks is read by name; Athena's files are not quoted."""
    concepts = [
        ("concept_id", "concept_name", "vocabulary_id", "concept_class_id", "concept_code"),
        (1, "Warfarin", "RxNorm", "Ingredient", "11289"),
        (2, "oxycodone", "RxNorm", "Ingredient", "7804"),
        (3, 'acetaminophen 5" x', "RxNorm", "Clinical Drug", "0"),
        (4, "acetaminophen", "RxNorm", "Ingredient", "161"),
        (7, "anti-infectives", "ATC", "Ingredient", "J01"),
        (10, "a pack", "NDC", "11-digit NDC", "00056017275"),
        (11, "a pack", "NDC", "11-digit NDC", "00406051262"),
    ]
    relations = [("concept_id_1", "concept_id_2", "relationship_id"), (10, 1, "Maps to"), (11, 3, "Maps to")]
    relations += [(10, 7, "Is a")]
    above = [("ancestor_concept_id", "descendant_concept_id"), (2, 3), (4, 3), (7, 3), (1, 1)]
    tables = {"concept": concepts, "concept_relationship": relations, "concept_ancestor": above}
    vocabulary = write_omop(tmp_path / "vocabulary", tables, "athena")
    rows = [(1, 101, "Coumadin 5", "00056017275"), (2, 102, "Roxicet", "00406051262"), (3, 103, "Aspirin EC", "0")]
    rows += [(4, 104, "Warfarin", "99999999999"), (5, 105, "Vial", "")]
    folder = write_tables(tmp_path / "raw", PRESCRIPTIONS=[HEADER, *rows])
    found = read(folder, vocabulary)
    assert drugs(found.stays) == {
        "101": {"warfarin"}, "102": {"oxycodone", "acetaminophen"}, "103": {"aspirin"}, "104": {"warfarin"},
        "105": set(), "106": set(),
    }  # fmt: skip
    assert found.counts["drug rows by their concept"] == 2
    assert found.named["names of no drug"] == {"Vial": 1}
    without = write_tables(tmp_path / "others", PRESCRIPTIONS=[HEADER, *rows[2:]])
    with pytest.raises(InputError, match="leads from none of the NDCs"):
        read(without, vocabulary)


def test_the_demo(shared_data, tmp_path):
    tables, _ = find_mimic_tables(shared_data / "mimic3_demo", None)
    with database(1 << 29, tmp_path / "out") as connection:
        found = read_mimic_tables(connection, tables, {})
    assert dict(found.rows) == {"ADMISSIONS": 129, "PATIENTS": 100, "DIAGNOSES_ICD": 1761, "PRESCRIPTIONS": 10398}
    counts = {name: found.counts[name] for name in ("stays", "patients", "stays with drugs", "drug names read")}
    assert counts == {"stays": 129, "patients": 100, "stays with drugs": 122, "drug names read": 592}
    assert found.stays.inputs.shape == (129, 359)
    assert set(found.stays.inputs[:, :357].data.tolist()) == {1.0}  # also where two names are one ingredient
    assert found.counts["stays above 89 years"] == 9
    assert (found.stays.wards.count("medical"), found.stays.wards.count("surgical")) == (92, 37)
    targets, lost = roll_up(found.stays.stay_ids, found.billed, load_ontology())
    assert level_counts(targets) == {
        "chapter": 17, "section": 91, "category": 275, "subcategory": 464, "code": 295, "billed": 581, "all": 1142,
    }  # fmt: skip
    assert not lost.retired
    assert not lost.outside
    assert (targets.gold.sum(axis=1) > 0).all()
