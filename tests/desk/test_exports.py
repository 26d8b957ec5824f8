"""Cells that a spreadsheet would run, and notes whose ids no database can hold."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from concept_icd.desk.api.export import COLUMNS, _harmless
from concept_icd.desk.worklist import read_worklist
from concept_icd.errors import InputError
from tests.desk.service import Service


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1+1",
        " =1",
        "\u00a0=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20A1",
    ],
)
def test_a_cell_that_a_spreadsheet_would_run(cell: str) -> None:
    assert _harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["486", "a=b", "", "Fever", "'x", 7, 0.5])
def test_any_other_cell_stays(cell: object) -> None:
    assert _harmless(cell) == cell


def test_each_column_of_an_export_is_harmless(service: Service) -> None:
    anna = service.person("=anna", "n10")
    anna.open()
    anna.does("add", "428.0")
    table = service.client.get("/v1/export.csv", params={"key": anna.key, "status": "all"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert list(rows[0]) == list(COLUMNS)
    assert "'=anna" in {row["by"] for row in rows}
    assert not any(value.startswith("=") for row in rows for value in row.values())


def test_a_note_id_with_a_control_character_is_listed_and_the_others_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["a\0b", "good", "c\nd", "e\x1bf", "g\x85h", "Müller 7"]
    lines = [json.dumps({"note_id": note_id, "text": "Cough."}) + "\n" for note_id in ids]
    (tmp_path / "notes.jsonl").write_text("".join(lines))
    worklist = read_worklist(tmp_path / "notes.jsonl", None, 100)
    assert [note.note_id for _, note in worklist] == ["good", "Müller 7"]
    said = capsys.readouterr().err
    assert (said.count("control character"), said.count("NUL character")) == (3, 1)
    assert "\0" not in said
    (tmp_path / "none.jsonl").write_text(lines[0])
    with pytest.raises(InputError, match="no note that can be read"):
        read_worklist(tmp_path / "none.jsonl", None, 100)


@pytest.mark.parametrize("note_id", ["a\0b", "a\nb", "\x7f", "a\u2028b", "", "x" * 201, "\ud800"])
def test_an_id_of_the_api_is_one_printable_line(service: Service, note_id: str) -> None:
    note = {"note_id": note_id, "text": "cough"}
    judged = {"note_id": note_id, "codes": [{"code": "486", "outcome": "accepted"}]}
    for path, body in (("/v1/code", note), ("/v1/code", [note]), ("/v1/code/fhir", note), ("/v1/feedback", judged)):
        headers = {"Content-Type": "application/json", "X-Coder": "ehr"}
        assert service.client.post(path, content=json.dumps(body), headers=headers).status_code == 422
