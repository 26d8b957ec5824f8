"""A coder called on texts, lists and tables, with the coder of the package."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest
from fhir.resources.R4B.bundle import Bundle

from concept_icd import ConceptCoder, Note
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.records import CodedNote
from concept_icd.records.tables import COLUMNS

PNEUMONIA = "Cough and fever. Right lower lobe pneumonia."
FEVER = "Fever."
SECRET = "zebrafish"
ROWS = {"visit": [7, 9], "note": [PNEUMONIA, FEVER]}


@pytest.fixture(scope="module")
def coder() -> ConceptCoder:
    return ConceptCoder.from_pretrained("radiology")


# Texts and lists -----------------------------------------------------------------------------------------------------


def test_a_text_gives_a_result_and_a_list_gives_a_list(coder):
    assert coder(PNEUMONIA).principal.code == "486"
    assert coder(PNEUMONIA) == coder.code(PNEUMONIA)
    both = coder([PNEUMONIA, Note("own", FEVER)])
    assert [(result.note_id, result.principal.code) for result in both] == [("0", "486"), ("own", "780.6")]
    assert coder([]) == []
    assert [result.note_id for result in coder(np.array([PNEUMONIA, FEVER]))] == ["0", "1"]
    assert [result.principal.code for result in coder(text for text in (PNEUMONIA,))] == ["486"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "a coder takes a text, a Note or a list of them, not None"),
        (486, "a coder takes a text, a Note or a list of them, not an int"),
        ({"text": SECRET}, "a coder takes a text, a Note or a list of them, not a dict"),
        (SECRET.encode(), "a coder takes a text, a Note or a list of them, not bytes: decode them first"),
        ([SECRET, None], "a coder takes a text, a Note or a list of them, and number 1 is None"),
        (pa.table(ROWS), "not a table: coder.code_frame(table, text=COLUMN, id=COLUMN) codes one"),
        (CodedNote(Note("a", SECRET)), "not a CodedNote: gold codes must not reach it (its .note may)"),
    ],
)
def test_what_is_no_text_is_told_what_is(coder, given, sentence):
    with pytest.raises(TypeError) as error:
        coder(given)
    assert sentence in str(error.value)
    assert SECRET not in str(error.value)


def test_empty_notes_and_ids_that_stand_there_twice_are_told(coder):
    with pytest.raises(InputError, match=r"^note '1': the note is empty$"):
        coder([FEVER, " "])
    with pytest.raises(InputError, match="two notes have the id '1'"):
        coder([Note("1", FEVER), FEVER])


def test_progress_is_told_where_it_is_asked_for_or_the_list_is_long(coder, capsys):
    coder([FEVER] * 2)
    assert capsys.readouterr().err == ""
    coder([FEVER] * 2, progress=True)
    assert "coding: 2/2 notes" in capsys.readouterr().err


# scikit-learn's names ------------------------------------------------------------------------------------------------


def test_predictions_are_matrices_over_the_classes(coder):
    classes = list(coder.classes_)
    assert len(classes) == 45
    assert all(isinstance(code, str) for code in classes)
    probabilities = coder.predict_proba([PNEUMONIA, FEVER])
    assert probabilities.shape == (2, 45)
    for row, result in zip(probabilities, coder([PNEUMONIA, FEVER]), strict=True):
        assert {code.code: code.probability for code in result.codes} == dict(zip(classes, row, strict=True))
    decided = coder.predict([PNEUMONIA, FEVER])
    assert decided.dtype == np.int64
    assert [[classes[column] for column in np.flatnonzero(row)] for row in decided] == [["486"], ["780.6"]]
    assert coder.predict(PNEUMONIA).shape == (1, 45)
    assert coder.predict_proba([]).shape == (0, 45)


# Tables --------------------------------------------------------------------------------------------------------------


def frame_of(library: str, rows: dict[str, list[Any]]) -> Any:
    module = pytest.importorskip(library)
    made = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "table", "datasets": "Dataset"}[library]
    return module.Dataset.from_dict(rows) if library == "datasets" else getattr(module, made)(rows)


def columns_of(frame: Any) -> dict[str, list[Any]]:
    table = frame.with_format("arrow")[:] if type(frame).__module__.startswith("datasets") else frame
    return nw.from_native(table).to_dict(as_series=False)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "datasets"])
def test_a_table_gives_a_table_of_the_same_library(coder, library):
    frame = frame_of(library, ROWS)
    coded = coder.code_frame(frame, text="note", id="visit", top=2)
    assert type(coded) is type(frame)
    found = columns_of(coded)
    assert list(found) == ["visit", *list(COLUMNS)[1:]]
    assert found["visit"] == [7, 7, 9, 9]
    assert found["rank"] == [1, 2, 1, 2]
    expected = [code for result in coder([PNEUMONIA, FEVER]) for code in result.top(2)]
    assert found["code"] == [code.code for code in expected]
    assert found["probability"] == [code.probability for code in expected]
    numbered = columns_of(coder.code_frame(frame, text="note", accepted_only=True))
    assert numbered["row"] == [0, 1]
    assert numbered["code"] == ["486", "780.6"]


def test_what_is_known_of_the_patient_is_read_and_checked(coder):
    rows = {**ROWS, "years": [4, None], "gender": ["F", None], "drugs": ["amoxicillin; ibuprofen", None]}
    columns = {"age": "years", "sex": "gender", "drugs": "drugs"}
    coded = coder.code_frame(pa.table(rows), text="note", id="visit", accepted_only=True, **columns)
    assert coded.column("code").to_pylist() == ["486", "780.6"]
    with pytest.raises(InputError, match=r"^row 1 \(9\): 'age' must be a number of years"):
        coder.code_frame(pa.table({**rows, "years": [4, 999]}), text="note", id="visit", **columns)


@pytest.mark.parametrize(
    ("rows", "asked", "sentence"),
    [
        (ROWS, {"text": "nots"}, "the table has no column 'nots' (did you mean 'note'?); it has visit, note"),
        ({"visit": [7, 7], "note": [FEVER, FEVER]}, {"text": "note", "id": "visit"}, "two notes have the id 7"),
        ({"visit": [7, None], "note": [FEVER, FEVER]}, {"text": "note", "id": "visit"}, "row 1 has no id"),
        ({"visit": [7, 9], "note": [SECRET, None]}, {"text": "note", "id": "visit"}, "row 1 (9): there is no text"),
        ({"note": [SECRET, " "]}, {"text": "note"}, "row 1: the note is empty"),
        ({"note": [1, 2]}, {"text": "note"}, "row 0: the text is of the type int"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_by_its_row(coder, rows, asked, sentence):
    with pytest.raises(InputError) as error:
        coder.code_frame(pa.table(rows), **asked)
    assert sentence in str(error.value)
    assert SECRET not in str(error.value)


def test_what_is_no_table_is_told_so(coder):
    with pytest.raises(TypeError, match=r"code_frame takes a DataFrame of pandas or polars, .* not a list"):
        coder.code_frame([FEVER], text="note")


# The forms of a result -----------------------------------------------------------------------------------------------


def test_a_result_as_a_frame(coder):
    result = coder(PNEUMONIA, evidence=True)
    frame = result.to_frame("pyarrow", top=3)
    assert frame.column_names == list(COLUMNS)
    assert frame.column("code").to_pylist() == [code.code for code in result.top(3)]
    start, end = result.codes[0].evidence[0]
    assert frame.column("evidence")[0].as_py() == f"{start}-{end}"
    assert PNEUMONIA[start:end] == "Right lower lobe pneumonia."
    assert result.to_frame("pyarrow", accepted_only=True).num_rows == 1
    with pytest.raises(InputError, match="did you mean 'pandas'"):
        result.to_frame("panda")


def test_a_library_that_is_absent_is_named_with_the_command_that_brings_it(coder, monkeypatch):
    monkeypatch.setattr("concept_icd.records.tables.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"polars is not installed; run: pip install .*\[frames\]"):
        coder(FEVER).to_frame("polars")


def test_a_result_as_fhir_holds_codes_and_no_text(coder):
    result = coder(PNEUMONIA, evidence=True)
    bundle = result.to_fhir(PNEUMONIA)
    Bundle.model_validate(bundle)
    (condition,) = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Condition"]
    assert condition["code"]["coding"][0] == {
        "system": "http://hl7.org/fhir/sid/icd-9-cm",
        "code": "486",
        "display": "Pneumonia, organism unspecified",
    }
    assert PNEUMONIA not in str(bundle)
    assert coder(PNEUMONIA, evidence=True, keep_note=True).to_fhir()["entry"][:2] == bundle["entry"][:2]
    with pytest.raises(InputError, match="to_fhir needs the note"):
        result.to_fhir()
    with pytest.raises(InputError, match="to_fhir needs the note"):
        result.to_fhir(Note("another", PNEUMONIA))


def test_text_is_shown_in_a_notebook_only_where_the_note_was_kept(coder):
    text = "Cough & <b>fever</b>. Right lower lobe pneumonia."
    plain, kept = (coder(text, evidence=True, keep_note=keep) for keep in (False, True))
    assert "486" in plain._repr_html_()
    for shown in (plain._repr_html_(), repr(plain), repr(kept), str(plain.to_dict()), str(kept.to_dict())):
        assert "fever" not in shown
    assert plain.to_dict() == kept.to_dict()
    html = kept._repr_html_()
    assert '<mark title="486">Right lower lobe pneumonia.</mark>' in html
    assert "&lt;b&gt;" in html
    assert "<b>fever" not in html


def test_a_coder_says_what_it_is_in_a_line(coder):
    assert repr(coder) == f"ConceptCoder(45 codes of icd9cm, model {coder.model}, hash {coder.hash[:12]})"
