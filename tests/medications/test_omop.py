"""Stays from OMOP tables: the same as from MIMIC-III's, vocabularies of another version, and bad input."""

import csv

import numpy as np
import pytest

from concept_icd.corpora.mimic3.tables import database
from concept_icd.errors import InputError
from concept_icd.medications.mimic import find_mimic_tables, read_mimic_tables
from concept_icd.medications.omop import find_cdm_tables, read_cdm_tables
from concept_icd.medications.targets import roll_up
from concept_icd.ontology.tree import load_ontology
from tests.corpora.mimic3.hand_made import write_tables
from tests.medications.omop import omop_tables, write_omop

pytest.importorskip("duckdb")


def read(folder, vocabulary=None, **options):
    tables = find_cdm_tables(folder, vocabulary)
    with database(1 << 29, folder.parent / "out") as connection:
        return read_cdm_tables(connection, tables, **options)


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


def rewritten(folder, names=None, header=lambda cells: cells, cells=lambda cells, row: cells, **dialect):
    """Writes the CSV tables of a folder again, each row changed, in another dialect."""
    for path in sorted(folder.glob("*.csv")):
        if names is None or path.stem in names:
            with path.open(newline="") as file:
                first, *rows = csv.reader(file)
            with path.open("w", newline="") as file:
                writer = csv.writer(file, **dialect)
                writer.writerow(header(first))
                writer.writerows(cells(own, row) for row, own in enumerate(rows))
    return folder


@pytest.mark.parametrize("names", [None, ["visit_occurrence"]])
@pytest.mark.parametrize(
    "dialect",
    [
        {"lineterminator": "\r\n"},
        {"lineterminator": "\r\n", "quoting": csv.QUOTE_ALL},
        {"delimiter": ";"},
        {"delimiter": ";", "lineterminator": "\r\n"},
        {"delimiter": "\t", "lineterminator": "\r\n"},
        {"delimiter": "\t", "quoting": csv.QUOTE_ALL},
    ],
)
def test_tables_of_other_programs(tmp_path, tables, names, dialect):
    """CRLF (Python, Excel, SQL Server), semicolons (Excel in Europe), tabs with quotes (R)."""
    folder = rewritten(write_omop(tmp_path / "omop", tables), names, **dialect)
    assert_same(read(folder), read_mimic(tmp_path / "mimic", tmp_path))


@pytest.mark.parametrize("dialect", [{"lineterminator": "\n"}, {"lineterminator": "\r\n"}, {"delimiter": "\t"}])
def test_columns_without_a_name_are_left_alone(tmp_path, tables, dialect):
    """A data frame's index before the others, and a spreadsheet's two empty columns behind them."""
    folder = rewritten(
        write_omop(tmp_path / "omop", tables),
        header=lambda cells: ["", *cells, "", ""],
        cells=lambda cells, row: [row, *cells, "", ""],
        **dialect,
    )
    assert_same(read(folder), read_mimic(tmp_path / "mimic", tmp_path))


def test_decimal_commas_of_ids(tmp_path, tables):
    header, *rows = tables["condition_occurrence"]
    rows = [(*row[:3], f"{row[3]},0") for row in rows]
    folder = write_omop(tmp_path / "omop", tables | {"condition_occurrence": [header, *rows]})
    assert_same(read(rewritten(folder, delimiter=";")), read_mimic(tmp_path / "mimic", tmp_path))
    rows = [(f"{row[0]}", f"{row[1]},000", *row[2:]) for row in rows]  # a thousand times as many, not the same
    with pytest.raises(InputError, match="visit_occurrence_id holds what is no whole number"):
        read(write_omop(tmp_path / "odd", tables | {"condition_occurrence": [header, *rows]}))


def test_a_header_that_cannot_do_is_named(tmp_path, tables):
    folder = write_omop(tmp_path / "mac", tables)
    person = folder / "person.csv"
    whole = person.read_text()
    for separator in (",", "\t"):
        person.write_text(whole.replace("\n", "\r").replace(",", separator), newline="")
        with pytest.raises(InputError, match=r"person\.csv ends its lines with a carriage return alone"):
            read(folder)
        person.write_text(whole.replace(",", separator), encoding="utf-16")
        with pytest.raises(InputError, match=r"person\.csv: its header is not UTF-8"):
            read(folder)
    for place, form in enumerate(("csv", "athena")):
        folder = write_omop(tmp_path / f"twice-{place}", tables, form)
        path = folder / ("person.csv" if form == "csv" else "PERSON.csv")
        path.write_text(path.read_text().replace("month_of_birth", "person_id", 1))
        with pytest.raises(InputError, match=r"(?i)has more than one column person_id"):
            read(folder)


def with_dates(tables, form):
    header, *rows = tables["visit_occurrence"]
    return tables | {"visit_occurrence": [header, *((*row[:3], form(*row[3].split("-"))) for row in rows)]}


@pytest.mark.parametrize(
    "form",
    [
        lambda y, m, d: f"{y}-{m}-{d} 23:59:59.5",
        lambda y, m, d: f"{y}-{m}-{d}T08:00:00Z",
        lambda y, m, d: f"{y}-{int(m)}-{int(d)}",
        lambda y, m, d: f"{y}/{m}/{d}",
        lambda y, m, d: f"{y}{m}{d}",
        lambda y, m, d: f"{y}{m}{d}.0",
        lambda y, m, d: f"{y}{m}{d}235959",
    ],
)
def test_dates_whose_form_leaves_no_doubt(tmp_path, tables, form):
    found = read(write_omop(tmp_path / "omop", with_dates(tables, form)))
    assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))


@pytest.mark.parametrize(
    "form",
    [
        lambda y, m, d: f"{d}/{m}/{y}",
        lambda y, m, d: f"{m}/{d}/{y}",
        lambda y, m, d: f"{d}.{m}.{y}",
        lambda y, m, d: f"{m}/{d}/{y[2:]}",
        lambda y, m, d: f"{d}{m}{y}",
        lambda y, m, d: f"{d}-Mar-{y}",
        lambda y, m, d: f"{y}-{d}-{m}" if int(d) > 12 else f"{y}-13-{m}",
        lambda y, m, d: "54321",  # days of a spreadsheet
    ],
)
def test_dates_of_any_other_form_are_refused(tmp_path, tables, form):
    changed = with_dates(tables, form)
    quoted = changed["visit_occurrence"][1][3]
    with pytest.raises(
        InputError, match=r"visit_occurrence\.csv: none of the dates in column VISIT_START_DATE can .* year-month-day"
    ) as told:
        read(write_omop(tmp_path / "omop", changed))
    assert quoted not in str(told.value)


def test_one_date_of_another_form_is_refused_and_an_unknown_one_counted(tmp_path, tables):
    header, *rows = tables["visit_occurrence"]
    unknown = [(*row[:3], value) for row, value in zip(rows, ("", "NULL", "0000-00-00", "unknown"), strict=False)]
    found = read(write_omop(tmp_path / "some", tables | {"visit_occurrence": [header, *unknown, *rows[4:]]}))
    assert found.counts["stays without an age"] == 4
    one = [(*rows[0][:3], "03/04/2150"), *rows[1:]]
    with pytest.raises(InputError, match="1 of 6 dates in column VISIT_START_DATE cannot be read"):
        read(write_omop(tmp_path / "one", tables | {"visit_occurrence": [header, *one]}))


def test_dates_of_parquet_columns(tmp_path, tables):
    """Dates, and times with a zone: pandas writes both."""
    import datetime

    for place, zone in enumerate((None, datetime.UTC)):

        def parsed(y, m, d, zone=zone):
            day = datetime.date(int(y), int(m), int(d))
            return day if zone is None else datetime.datetime(day.year, day.month, day.day, 12, tzinfo=zone)

        found = read(write_omop(tmp_path / f"omop-{place}", with_dates(tables, parsed), "parquet"))
        assert_same(found, read_mimic(tmp_path / "mimic", tmp_path))


def test_prescriptions_alone_are_drugs_or_every_row(tmp_path, tables):
    """38000177 is a prescription written, 38000180 an administration: the study reads the first alone."""
    header, *rows = tables["drug_exposure"]
    kinds = [38000177 if number == 0 else 38000180 for number in range(len(rows))]
    typed = [(*header, "drug_type_concept_id"), *((*row, kind) for row, kind in zip(rows, kinds, strict=True))]
    folder = write_omop(tmp_path / "omop", tables | {"drug_exposure": typed})
    found = read(folder)
    assert found.counts["drug rows"] == 1
    assert found.counts["drug rows that are no prescription"] == len(rows) - 1
    everything = read(folder, drug_types="all")
    assert everything.counts["drug rows"] == len(rows)
    assert_same(everything, read_mimic(tmp_path / "mimic", tmp_path))
    others = [typed[0], *((*row, 32838) for row in rows)]
    with pytest.raises(InputError, match=r"none of its 3 rows has the drug_type_concept_id 38000177 .*--drug-types"):
        read(write_omop(tmp_path / "others", tables | {"drug_exposure": others}))
