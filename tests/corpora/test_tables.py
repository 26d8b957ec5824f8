"""Corpora that are tables: CSV of every country, Parquet, Feather, JSON lists; and files that are none."""

import gzip
import json

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from concept_icd.corpora import format_of, read_corpus, read_corpus_leniently
from concept_icd.errors import InputError

NOTES = [
    {"note_id": "a", "text": "Fever, cough; 38,5.", "age": 0, "sex": "female", "codes": ["486", "250.00"]},
    {"note_id": "b", "text": 'She said "no".\nLine two', "age": 71, "sex": "M", "codes": ["038.9", "04.07"]},
]


def read(path, **columns):
    return [
        (coded.note.note_id, coded.note.text, coded.note.age, coded.note.sex, coded.diagnoses, coded.procedures)
        for coded in read_corpus(path, columns=columns)
    ]


WANTED = [
    ("a", "Fever, cough; 38,5.", 0.0, "F", ("486", "250.00"), ()),
    ("b", 'She said "no".\nLine two', 71.0, "M", ("038.9",), ("04.07",)),
]


def table(mark, end="\n", names=("note_id", "text", "age", "sex", "codes")):
    cells = [names, *((n["note_id"], n["text"], str(n["age"]), n["sex"], ";".join(n["codes"])) for n in NOTES)]
    return "".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in row) + end for row in cells)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_of_text(tmp_path, mark, end, capsys):
    path = tmp_path / "notes.csv"
    path.write_bytes(b"\xef\xbb\xbf" + table(mark, end).encode())
    assert read(path) == WANTED
    assert capsys.readouterr().err == ""  # the columns have the fields' own names: nothing was guessed
    zipped = tmp_path / "NOTES.TSV.GZ"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read(zipped) == WANTED


@pytest.mark.parametrize("ending", ["ndjson", "jsonlines", "JSONL", "Ndjson.gz"])
def test_json_lines_by_any_of_their_endings(tmp_path, ending):
    path, data = tmp_path / f"notes.{ending}", "\n".join(map(json.dumps, NOTES)).encode()
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    assert read(path) == WANTED


@pytest.mark.parametrize("ending", ["json", "JSON.gz"])
def test_a_json_list_and_json_lines_that_are_called_json(tmp_path, ending):
    path = tmp_path / f"notes.{ending}"
    for text in (json.dumps(NOTES), json.dumps(NOTES, indent=2), "\n".join(map(json.dumps, NOTES))):
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
        assert read(path) == WANTED


def test_parquet_and_feather(tmp_path):
    found = pa.table({name: [note[name] for note in NOTES] for name in NOTES[0]})
    pq.write_table(found, tmp_path / "notes.parquet")
    pyarrow.feather.write_feather(found, tmp_path / "notes.feather")
    (tmp_path / "notes.parquet.gz").write_bytes(gzip.compress((tmp_path / "notes.parquet").read_bytes()))
    for name in ("notes.parquet", "notes.feather", "notes.parquet.gz"):
        assert read(tmp_path / name) == WANTED


def test_what_a_data_frame_leaves_empty_is_not_known(tmp_path):
    frame = {"note_id": [7, 8], "text": ["x", "y"], "age": [float("nan"), 304.0], "sex": ["F", None]}
    pq.write_table(pa.table(frame), tmp_path / "n.parquet")
    assert [row[:4] for row in read(tmp_path / "n.parquet")] == [("7", "x", None, "F"), ("8", "y", 90.0, None)]
    (tmp_path / "n.csv").write_text(",note_id,text,age,sex,codes,,\n0,7,x,,F,,,\n1,8,y,> 89,,,,\n")
    assert [row[:4] for row in read(tmp_path / "n.csv")] == [("7", "x", None, "F"), ("8", "y", 90.0, None)]


def test_columns_are_guessed_aloud_or_named(tmp_path, capsys):
    path = tmp_path / "notes.csv"
    path.write_text(table(",", names=("HADM_ID", "Note_Text", "age", "GENDER", "LABELS")))
    assert read(path) == WANTED
    said = capsys.readouterr().err
    assert "note_id from 'HADM_ID', text from 'Note_Text', sex from 'GENDER', codes from 'LABELS'" in said
    assert "--id-column" in said
    path.write_text(table(",", names=("key", "words", "age", "sex", "gold standard")))
    with pytest.raises(InputError, match="no column 'note_id'; name the column with --id-column; it has key, words"):
        read(path)
    assert read(path, note_id="key", text="words", codes="gold standard") == WANTED
    with pytest.raises(InputError, match="has no column 'word'; it has key"):
        read(path, note_id="key", text="word")


def test_fields_of_json_lines_can_be_named_too(tmp_path):
    (tmp_path / "n.jsonl").write_text(json.dumps({"id": "a", "body": "x", "labels": ["486"]}))
    assert read(tmp_path / "n.jsonl", note_id="id", text="body", codes="labels")[0][4] == ("486",)


@pytest.mark.parametrize(
    ("field", "value"),
    [("labels", ["486"]), ("LABELS", "486;401.9"), ("icd9_codes", ["4280"]), ("found", ["428.0", "486"])],
)
def test_gold_that_is_not_read_is_named(tmp_path, capsys, field, value):
    (tmp_path / "n.jsonl").write_text(json.dumps({"note_id": "a", "text": "x", field: value, "ward": ["7"]}))
    assert read(tmp_path / "n.jsonl")[0][4] == ()
    said = capsys.readouterr().err
    assert f"the field '{field}' holds ICD-9-CM codes in 1 of 1 notes and is not read; rename it to 'codes'" in said
    assert "ward" not in said


def test_a_list_in_a_cell_as_data_frames_print_it(tmp_path):
    (tmp_path / "n.csv").write_text("note_id,text,codes\na,x,\"['486', '250.00']\"\nb,y,[]\n")
    assert [row[4] for row in read(tmp_path / "n.csv")] == [("486", "250.00"), ()]


def test_codes_and_ids_that_a_table_holds_as_numbers_are_refused(tmp_path):
    pq.write_table(pa.table({"note_id": ["a"], "text": ["x"], "codes": [38.9]}), tmp_path / "n.parquet")
    with pytest.raises(InputError, match=r"row 1: 38\.9 in 'codes' is a number"):
        read(tmp_path / "n.parquet")
    pq.write_table(pa.table({"note_id": [145834.0], "text": ["x"]}), tmp_path / "n.parquet")
    with pytest.raises(InputError, match="row 1: the id in column 'note_id' is a number with decimals"):
        read(tmp_path / "n.parquet")


def test_a_bad_row_is_a_failure_and_the_others_are_read(tmp_path):
    rows = ["note_id,text,sex", "a,x,F", "b,y,weiblich", "c,,F", "d,z,M,surplus", "e,x,M", "a,again,F", ""]
    (tmp_path / "n.csv").write_text("\n".join(rows))
    notes, failures = read_corpus_leniently(tmp_path / "n.csv")
    assert [coded.note.note_id for coded in notes] == ["a", "e"]
    assert [failure.place for failure in failures] == [f"{tmp_path / 'n.csv'}, line {n}" for n in (3, 4, 5, 7)]
    assert not any("weiblich" in str(failure) or "surplus" in str(failure) for failure in failures)
    with pytest.raises(InputError, match="3 more notes cannot be read"):
        read(tmp_path / "n.csv")


@pytest.mark.parametrize("name", ["notes", "notes.md", "notes.xlsx", "notes.rtf", "notes.pkl", "notes.jsonl.zip"])
def test_a_file_whose_ending_is_not_known_is_never_one_note(tmp_path, name):
    (tmp_path / name).write_text('{"note_id": "a", "text": "x"}\n')
    for read_it in (format_of, read_corpus, read_corpus_leniently):
        with pytest.raises(InputError, match="its ending does not tell what it is; name it with --format: cmc2007"):
            read_it(tmp_path / name)
    assert read_corpus(tmp_path / name, "jsonl")[0].note.note_id == "a"
    assert read_corpus(tmp_path / name, "text")[0].note.note_id == name


def test_what_is_no_table_is_told_without_a_word_of_it(tmp_path):
    (tmp_path / "n.csv").write_text("Patient has chest pain, fever, SECRET\nno\n")
    (tmp_path / "n.parquet").write_text("SECRET")
    (tmp_path / "n.json").write_text('{"text": SECRET')
    (tmp_path / "list.json").write_text('["SECRET"]')
    for name in ("n.csv", "n.parquet", "n.json", "list.json"):
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)
        if name != "n.csv":
            assert "SECRET" not in str(error.value)


def test_a_quote_that_is_never_closed_swallows_no_note(tmp_path):
    (tmp_path / "n.csv").write_text('note_id,text\n1,"Fever, cough.\n2,SECRET\n3,Pain.\n')
    with pytest.raises(InputError, match=r"n\.csv, at line 4: .* a quote is not closed") as error:
        read(tmp_path / "n.csv")
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize("cell", ["250,00", "V30,01", "38,93", "428,0;401,9", "e812,0"])
def test_a_decimal_comma_makes_no_two_codes_of_one(tmp_path, cell):
    (tmp_path / "n.csv").write_text(f'note_id;text;codes\na;x;"{cell}"\nb;y;486,401.9\nc;z;486, 250.00,V30.01\n')
    notes, failures = read_corpus_leniently(tmp_path / "n.csv")
    assert [coded.codes for coded in notes] == [("486", "401.9"), ("486", "250.00", "V30.01")]
    assert [failure.note_id or failure.place for failure in failures] == [f"{tmp_path / 'n.csv'}, line 2"]
    assert "a decimal comma stands in 'codes'" in str(failures[0])


def test_json_that_is_no_list_of_notes(tmp_path):
    (tmp_path / "columns.json").write_text('{"note_id": ["a", "b"], "text": ["SECRET", "y"]}')
    with pytest.raises(InputError, match=r"columns\.json is no list of records"):
        read(tmp_path / "columns.json")
    (tmp_path / "none.json").write_text("[]")
    assert read_corpus(tmp_path / "none.json") == []


def test_bytes_in_parquet_are_named_as_such(tmp_path):
    pq.write_table(pa.table({"note_id": ["a"], "text": [b"x"]}), tmp_path / "n.parquet")
    with pytest.raises(InputError, match="'text' must hold text in quotes, not bytes"):
        read(tmp_path / "n.parquet")
