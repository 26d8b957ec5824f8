"""`code --out` as CSV and Parquet: what is written, and that `evaluate` reads the same out of all forms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from concept_icd import ConceptCoder
from concept_icd.cli.main import main
from concept_icd.errors import InputError
from concept_icd.readers.predictions import read_predictions
from concept_icd.records.tables import COLUMNS

TEXTS = {"a": "Cough and fever. Right lower lobe pneumonia.", "b": "Fever.", 'c,"3"': "Ultrasound of the kidneys."}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "notes.jsonl"
    path.write_text("".join(json.dumps({"note_id": name, "text": text}) + "\n" for name, text in TEXTS.items()))
    return str(path)


def coded(corpus: str, out: Path, *options: str) -> Path:
    assert main(["code", "--corpus", corpus, "--out", str(out), "-q", *options]) == 0
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.stat().st_mode & 0o777 == 0o600
    return out


@pytest.fixture(scope="module")
def files(corpus, tmp_path_factory) -> dict[str, Path]:
    return {form: coded(corpus, tmp_path_factory.mktemp(form) / f"p.{form}") for form in ("jsonl", "csv", "parquet")}


def test_a_table_has_a_row_a_code(files):
    rows = pq.read_table(files["parquet"]).to_pylist()
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 3 * 45
    lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    flat = [(line["note_id"], code) for line in lines for code in line["codes"]]
    assert [(row["note_id"], row["rank"], row["code"]) for row in rows] == [
        (note_id, code["rank"], code["code"]) for note_id, code in flat
    ]
    assert [row["probability"] for row in rows] == [code["probability"] for _, code in flat]
    assert (rows[0]["note_id"], rows[0]["code"], rows[0]["title"], rows[0]["accepted"]) == (
        *("a", "486", "Pneumonia, organism unspecified"),
        True,
    )
    with files["csv"].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["note_id"] for row in table] == [row["note_id"] for row in rows]
    assert [float(row["probability"]) for row in table] == [row["probability"] for row in rows]
    assert [row["code"] for row in table] == [row["code"] for row in rows]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_is_read_as_the_lines_are(files, form):
    lines, table = read_predictions(files["jsonl"]), read_predictions(files[form])
    assert table.note_ids == lines.note_ids == tuple(TEXTS)
    assert table.codes == lines.codes
    for name in ("probabilities", "scores", "accepted", "named", "expected"):
        assert np.array_equal(getattr(table, name), getattr(lines, name)), name
    assert table.versions == (lines.versions if form == "parquet" else {})


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_accepted_codes_alone_and_a_note_without_one_is_there(corpus, tmp_path, form):
    found = read_predictions(coded(corpus, tmp_path / f"p.{form}", "--accepted-only"))
    expected = ConceptCoder.from_pretrained("radiology")(list(TEXTS.values()))
    assert found.note_ids == tuple(TEXTS)
    for row, result in zip(found.accepted, expected, strict=True):
        assert {found.codes[column] for column in np.flatnonzero(row)} == {code.code for code in result.accepted}
    assert {"486", "780.6"} <= set(found.codes)


def test_the_first_codes_alone_with_their_passages(corpus, tmp_path):
    path = coded(corpus, tmp_path / "p.table", "--top", "1", "--evidence", "--out-format", "parquet")
    first = pq.read_table(path).to_pylist()
    assert [row["rank"] for row in first] == [1, 1, 1]
    start, end = map(int, first[0]["evidence"].split("-"))
    assert TEXTS["a"][start:end] == "Right lower lobe pneumonia."


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_only_an_own_table_is_replaced(corpus, tmp_path, form, capsys):
    out = coded(corpus, tmp_path / f"p.{form}", "--top", "2")
    coded(corpus, out, "--top", "1", "--overwrite")
    assert len(read_predictions(out).codes) <= 3
    mine = tmp_path / f"mine.{form}"
    content = b"PAR1 mine" if form == "parquet" else b"note_id,code\na,486\n"
    mine.write_bytes(content)
    assert main(["code", "--corpus", corpus, "--out", str(mine), "--overwrite"]) == 2
    assert "is no file that this command writes" in capsys.readouterr().err
    assert mine.read_bytes() == content


def test_predictions_of_others_in_rows(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("code;note_id;probability\n486;a;0.9\n780.6;a;0.2\n;b;\n486;c;0.4\n")
    found = read_predictions(path)
    assert found.note_ids == ("a", "b", "c")
    assert found.probabilities.tolist() == [[0.9, 0.2], [0, 0], [0.4, 0]]
    assert found.scores is None
    assert found.accepted is None


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("a,486,0.9\nb,486,0.1\na,780.6,0.2\n", "the rows of the note 'a' do not stand together"),
        ("a,486,0.9\na,486,0.1\n", "note 'a': the code 486 stands there twice"),
        ("a,486,1.9\n", "note 'a': the probability of 486 is 1.9"),
        ("a,486,\n", "note 'a': the probability of 486 is None"),
        (",486,0.9\n", "a row has no note_id"),
        ("", "holds no note"),
        ("a,486,zebrafish\n", "is damaged, or no table of predictions"),
    ],
)
def test_what_is_wrong_with_rows_is_told(tmp_path, rows, sentence):
    path = tmp_path / "p.csv"
    path.write_text(f"note_id,code,probability\n{rows}")
    with pytest.raises(InputError) as error:
        read_predictions(path)
    assert sentence in str(error.value)
    assert "zebrafish" not in str(error.value)


def test_notes_side_by_side_give_the_same(corpus, tmp_path, files):
    path = coded(corpus, tmp_path / "p.jsonl", "--workers", "2")
    assert np.allclose(read_predictions(path).probabilities, read_predictions(files["jsonl"]).probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--workers", "0"], "--workers 0: a number from 1 up is needed"),
        (["--workers", "2", "--scorer", "packed"], "--workers is of small models"),
        (["--scorer", "server", "--device", "cpu"], "--device are of --scorer packed"),
        (["--device", "gpu9"], "cannot use the device 'gpu9'"),
    ],
)
def test_options_of_another_scorer_are_refused(corpus, tmp_path, capsys, options, sentence):
    assert main(["code", "--corpus", corpus, "--out", str(tmp_path / "p.jsonl"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()


def test_a_single_note_shows_its_accepted_codes_alone(tmp_path, capsys):
    note = tmp_path / "note.txt"
    note.write_text(TEXTS["a"])
    assert main(["code", str(note), "--accepted-only", "--json"]) == 0
    assert [code["code"] for code in json.loads(capsys.readouterr().out)["codes"]] == ["486"]
    assert main(["code", str(note), "--accepted-only"]) == 0
    assert "780.6" not in capsys.readouterr().out
    assert main(["code", str(note), "--out-format", "csv"]) == 2
    assert "--out-format does nothing without --out" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_evaluation_lists_notes_by_error_with_the_places_of_their_passages(corpus, tmp_path, form):
    """Note a has pneumonia, and is said to have none: what was accepted in vain is named with its passage."""
    (tmp_path / "out").mkdir()
    predictions = coded(corpus, tmp_path / "out" / f"p.{form}", "--evidence", "--top", "3")
    gold = tmp_path / "gold.jsonl"
    lines = [{"note_id": "a", "codes": ["786.2"]}, {"note_id": "b", "codes": ["780.6"]}]
    lines.append({"note_id": list(TEXTS)[2], "codes": ["593.70"]})
    gold.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = tmp_path / "evaluated"
    arguments = ["--predictions", str(predictions), "--gold", str(gold), "--out", str(found), "--draws", "0", "-q"]
    assert main(["evaluate", *arguments, "--error-notes", "1"]) == 0
    (row,) = json.loads((found / "results.json").read_text())["extra"]["error_notes"]
    assert (row["note_id"], row["missed"]) == ("a", [{"code": "786.2", "passages": row["missed"][0]["passages"]}])
    ((start, end),) = row["in_vain"][0]["passages"]
    assert (row["in_vain"][0]["code"], TEXTS["a"][start:end]) == ("486", "Right lower lobe pneumonia.")
    assert "pneumonia." not in (found / "report.html").read_text()
    assert main(["evaluate", *arguments, "--overwrite"]) == 0
    assert "error_notes" not in json.loads((found / "results.json").read_text())["extra"]
