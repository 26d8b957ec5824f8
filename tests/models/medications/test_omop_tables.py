"""Stays from OMOP tables: the same as from MIMIC-III's, vocabularies of another version, and bad input."""

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.mimic3.tables import database
from concept_icd.models.medications.mimic_tables import find_mimic_tables, read_mimic_tables
from concept_icd.models.medications.omop_tables import find_cdm_tables, read_cdm_tables
from concept_icd.models.medications.targets import roll_up
from concept_icd.ontology import load_ontology
from tests.mimic3.hand_made import write_tables
from tests.models.medications.omop import omop_tables, write_omop

pytest.importorskip("duckdb")


def read(folder, vocabulary=None):
    tables = find_cdm_tables(folder, vocabulary)
    with database(1 << 29, folder.parent / "out") as connection:
        return read_cdm_tables(connection, tables)


def read_mimic(folder, beside):
    tables, _ = find_mimic_tables(folder, None)
    with database(1 << 29, beside / "out") as connection:
        return read_mimic_tables(connection, tables, {})


def assert_same(omop, mimic):
    """The same rows, inputs and targets."""
    for name in ("stay_ids", "patient_ids", "input_names"):
        assert getattr(omop.stays, name) == getattr(mimic.stays, name), name
    assert np.array_equal(omop.stays.inputs.toarray(), mimic.stays.inputs.toarray())
    ours, theirs = (roll_up(read.stays.stay_ids, read.billed, load_ontology())[0] for read in (omop, mimic))
    assert ours.nodes == theirs.nodes
    assert np.array_equal(ours.gold.toarray(), theirs.gold.toarray())
    assert np.array_equal(ours.billed, theirs.billed)


@pytest.fixture
def tables(tmp_path):
    """Six stays by hand as OMOP tables."""
    return omop_tables(write_tables(tmp_path / "mimic"))


@pytest.mark.parametrize("form", ["csv", "athena", "parquet"])
def test_the_same_stays_as_from_mimic(tmp_path, tables, form):
    found = read(write_omop(tmp_path / "omop", tables, form))
    assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))
    assert found.counts["drug rows by their concept"] == 3
    assert found.stays.wards == (None,) * 6


def test_the_demo_through_both_readers(shared_data, tmp_path):
    demo = shared_data / "mimic3_demo"
    mimic = read_mimic(demo, tmp_path)
    found = read(write_omop(tmp_path / "omop", omop_tables(demo), "parquet"))
    assert_same(found, mimic)
    assert found.rows["PATIENTS"] == 100
    assert found.counts["stays with drugs"] == 122


def test_without_a_vocabulary_names_tell_the_drugs(tmp_path, tables):
    del tables["concept_ancestor"]
    found = read(write_omop(tmp_path / "omop", tables))
    assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))
    assert found.counts["drug names read"] == 2


def test_without_concepts_codes_are_read_as_written(tmp_path, tables):
    del tables["concept"], tables["concept_ancestor"]
    found = read(write_omop(tmp_path / "omop", tables))
    written = {row[2] for row in tables["condition_occurrence"][1:]} - {""}
    assert {code.replace(".", "") for own in found.billed.values() for code in own} == written
    by_concept_alone = [row for row in tables["condition_occurrence"][1:] if not row[2]]
    assert found.counts["diagnosis rows without a code"] == len(by_concept_alone) == 5


def test_a_vocabulary_in_a_folder_of_its_own(tmp_path, tables):
    vocabulary = {name: tables.pop(name) for name in ("concept", "concept_ancestor")}
    folder = write_omop(tmp_path / "omop", tables)
    found = read(folder, write_omop(tmp_path / "vocabulary", vocabulary, "athena"))
    assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))


def test_age_by_the_year_alone(tmp_path, tables):
    tables["person"] = [row[:3] for row in tables["person"]]
    found = read(write_omop(tmp_path / "omop", tables))
    assert found.stays.inputs.toarray()[:, -1].tolist() == pytest.approx([50 / 89, 50 / 89, 1, 0, 0, 1])


def test_a_vocabulary_of_another_version(tmp_path, tables):
    header, *rows = tables["drug_exposure"]
    known = rows[0][3]
    rows = [row if row[3] == known else (*row[:3], row[3] + 900_000, row[4]) for row in rows]
    found = read(write_omop(tmp_path / "some", tables | {"drug_exposure": [header, *rows]}))
    assert found.counts["drug rows of concepts that the vocabulary lacks"] == 1
    assert found.counts["drug concepts that the vocabulary lacks"] == 1
    assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))  # by their names
    rows = [(*row[:3], row[3] + 900_000, row[4]) for row in rows]
    with pytest.raises(InputError, match=r"knows none of the 3 drug_concept_id .* another version"):
        read(write_omop(tmp_path / "none", tables | {"drug_exposure": [header, *rows]}))


def test_drugs_without_a_concept_and_without_a_name_are_counted(tmp_path, tables):
    header, *rows = tables["drug_exposure"]
    rows = [(*rows[0][:3], 0, ""), (*rows[0][:3], 0, None), *rows[1:]]
    found = read(write_omop(tmp_path / "omop", tables | {"drug_exposure": [header, *rows]}, "parquet"))
    assert found.counts["drug rows without a concept"] == 2
    assert found.counts["drug rows without concept and name"] == 2


def test_codes_of_other_vocabularies_and_no_codes_are_counted(tmp_path, tables):
    tables["concept"].append((77, "Heart failure", "ICD10CM", "5-char billing code", "I50.9"))
    tables["condition_occurrence"] += [
        (90, 101, "I50.9", 77), (91, 101, "CHEST PAIN", 0), (92, 101, "", 0), (93, 999, "428.0", 0),
        (94, 102, "4280", 0),
    ]  # fmt: skip
    found = read(write_omop(tmp_path / "omop", tables))
    assert found.named["other vocabularies of diagnoses"] == {"ICD10CM": 1}
    assert found.named["no ICD-9-CM diagnosis codes"] == {"CHEST PAIN": 1}
    assert found.counts["diagnosis rows without a code"] == 1
    assert set(found.billed["101"]) == {"038.9", "401.9", "250.00"}
    assert "428.0" in found.billed["102"]


def test_tables_that_cannot_do(tmp_path, tables):
    def refused(name, changed, match):
        folder = tmp_path / name
        with pytest.raises(InputError, match=match):
            read(write_omop(folder, {key: rows for key, rows in changed.items() if rows is not None}))

    refused("a", tables | {"person": None}, "lacks person ")
    refused("b", tables | {"person": [("person_id", "gender_concept_id"), (1, 8507)]}, "has no column YEAR_OF_BIRTH")
    visits = tables["visit_occurrence"]
    refused("c", tables | {"visit_occurrence": [*visits, visits[1]]}, "1 rows have no visit_occurrence_id, or one that")
    odd = [visits[0], ("A1", 1, 9201, "2150-01-01")]
    refused("d", tables | {"visit_occurrence": odd}, "visit_occurrence_id holds what is no whole number")
    refused("e", tables | {"condition_occurrence": tables["condition_occurrence"][:1]}, "no condition of a visit has")
    nameless = [row[:4] for row in tables["drug_exposure"]]
    refused("f", tables | {"drug_exposure": nameless, "concept_ancestor": None}, "no column drug_source_value")
    no_ingredients = [tables["concept"][0], (1, "x", "SNOMED", "Procedure", "1")]
    refused("g", tables | {"concept": no_ingredients}, "holds no ingredient of RxNorm")
    with pytest.raises(InputError, match="--omop-dir names the one with the OMOP tables"):
        read(tmp_path / "nowhere")
    (tmp_path / "h").mkdir()
    write_omop(tmp_path / "h", tables)
    (tmp_path / "h" / "person.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match=r"person\.parquet: no Parquet file"):
        read(tmp_path / "h")


def test_codes_that_were_turned_into_numbers_are_refused(tmp_path, tables):
    header, *rows = tables["condition_occurrence"]
    rows = [(*row[:2], int(row[2]) if row[2].isdigit() else None, row[3]) for row in rows]
    rows.append((99, 101, 66, 0))  # 006.6
    with pytest.raises(InputError, match="condition_source_value were turned into numbers and lost zeros"):
        read(write_omop(tmp_path / "omop", tables | {"condition_occurrence": [header, *rows]}, "parquet"))


def test_ids_that_programs_wrote_with_decimals(tmp_path, tables):
    header, *rows = tables["condition_occurrence"]
    rows = [(*row[:3], float(row[3])) for row in rows]
    found = read(write_omop(tmp_path / "omop", tables | {"condition_occurrence": [header, *rows]}))
    assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))
