from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from concept_icd.cli.main import main
from tests.fitted_coder import CODES

SECRET = "zebrafish"  # stands for note text that must not reach a message


@pytest.fixture(scope="module")
def coder(fitted, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("coder") / "coder"
    fitted.coder.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def note(tmp_path) -> Path:
    path = tmp_path / "note.txt"
    path.write_text("Cough and fever. Impression: pneumonia.")
    return path


def write_corpus(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines))
    return path


def line(note_id: str, text: str = "cough and fever", **fields: object) -> str:
    return json.dumps({"note_id": note_id, "text": text, **fields})


def test_a_note_becomes_a_table(coder, note, capsys):
    assert main(["code", str(note), "--coder", coder, "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("%") == 3 + 1  # of three codes, and of the recall to read for
    assert "✓" in out
    assert " > " in out
    assert "cross-validation on 80 notes" in out
    assert "for an expected recall of 90 %" in out
    assert "validated by a professional coder" in out
    assert "trust it less" not in out


def test_a_narrow_terminal_gets_a_block_a_code(fitted, capsys, monkeypatch):
    from concept_icd.cli.code import print_result

    text = "Cough and fever. Impression: pneumonia."
    result = fitted.coder.code(text)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for width, boxed in ((89, False), (90, True)):
        monkeypatch.setenv("COLUMNS", str(width))
        print_result(result, text, 6, fitted.coder)
        told = capsys.readouterr().out
        assert ("┃" in told) == boxed
        assert all(code.code in told and f"{code.probability:.1%}" in told for code in result.codes)


def test_a_note_of_another_kind_is_said_to_be_one(coder, note, capsys):
    note.write_text("The quick brown fox jumps over the lazy dog in Paris, 1789.")
    assert main(["code", str(note), "--coder", coder]) == 0
    assert "This note is unlike those the coder was trained on: trust it less." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("read_first", "shown", "sentence"),
    [
        (1, 10, "Read the first suggestion for an expected recall of 90 %."),
        (4, 4, "Read the first 4 suggestions for an expected recall of 90 %."),
        (14, 10, "Read the first 14 suggestions for an expected recall of 90 % (--top 14 shows them)."),
    ],
)
def test_how_far_to_read_is_one_sentence(read_first, shown, sentence):
    from concept_icd.cli.code import how_far

    assert how_far(read_first, shown) == sentence


def test_json_holds_every_code(coder, note, capsys, fitted):
    assert main(["code", str(note), "--coder", coder, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["note_id"] == "note.txt"
    assert [code["rank"] for code in record["codes"]] == [1, 2, 3, 4, 5, 6]
    expected = fitted.coder.code(note.read_text())
    assert [code["probability"] for code in record["codes"]] == [code.probability for code in expected.codes]
    assert [code["expected_recall"] for code in record["codes"]] == [code.expected_recall for code in expected.codes]
    assert record["read_first"] == expected.read_first
    assert main(["code", str(note), "--coder", coder, "--json", "--top", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["codes"]) == 2


def test_standard_input(coder, note, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(note.read_bytes())))
    assert main(["code", "-", "--coder", coder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["note_id"] == "stdin"


def test_a_corpus_becomes_one_line_a_note(coder, tmp_path, capsys):
    corpus = write_corpus(tmp_path / "notes.jsonl", line("b", diagnoses=["486"]), line("a", "wheezing, asthma"))
    out = tmp_path / "new" / "predictions.jsonl"
    assert main(["code", "--corpus", str(corpus), "--format", "jsonl", "--out", str(out), "--coder", coder]) == 0
    records = [json.loads(text) for text in out.read_text().splitlines()]
    assert [record["note_id"] for record in records] == ["b", "a"]
    for record in records:
        assert record.keys() == {"note_id", "truncated", "codes", "versions", "read_first", "familiarity", "unfamiliar"}
        assert sorted(code["code"] for code in record["codes"]) == sorted(CODES)
        named = {"rank", "code", "kind", "title", "probability", "accepted", "concepts", "evidence"}
        assert all(code.keys() >= named for code in record["codes"])
    assert [path.name for path in out.parent.iterdir()] == ["predictions.jsonl"]


def test_gold_codes_of_a_corpus_move_nothing(coder, tmp_path):
    outs = []
    for name, codes in (("one", ["486"]), ("two", ["786.2", "599.0"])):
        corpus = write_corpus(tmp_path / f"{name}.jsonl", line("a", diagnoses=codes))
        outs.append(tmp_path / f"{name}.out")
        assert (
            main(["code", "--corpus", str(corpus), "--format", "jsonl", "--out", str(outs[-1]), "--coder", coder]) == 0
        )
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_bad_notes_are_listed_and_the_others_coded(coder, tmp_path, capsys):
    corpus = write_corpus(
        tmp_path / "notes.jsonl",
        line("good"),
        f'{{"note_id": "cut", "text": "{SECRET}',
        line("empty", "  "),
        line("nul", f"{SECRET}\0"),
        line("good", SECRET),
        line("code", SECRET, diagnoses=["no code"]),
        line("long", "cough and fever " * 5000),
    )
    out = tmp_path / "predictions.jsonl"
    assert main(["code", "--corpus", str(corpus), "--out", str(out), "--coder", coder]) == 1
    records = {record["note_id"]: record for record in map(json.loads, out.read_text().splitlines())}
    assert list(records) == ["good", "long"]
    assert records["good"]["truncated"] is None
    assert "not read" in records["long"]["truncated"]
    failures = [json.loads(text) for text in Path(f"{out}.failures.jsonl").read_text().splitlines()]
    assert [failure["place"].split(", ")[-1] for failure in failures] == [f"line {n}" for n in (2, 3, 4, 5, 6)]
    err = capsys.readouterr().err
    assert "5 notes cannot be coded" in err
    assert all(failure["reason"] in err for failure in failures)
    assert SECRET not in err + json.dumps(failures)
    # A second run over a mended corpus leaves no stale list.
    write_corpus(corpus, line("good"))
    assert main(["code", "--corpus", str(corpus), "--out", str(out), "--overwrite", "--coder", coder]) == 0
    assert not Path(f"{out}.failures.jsonl").exists()


def test_a_folder_of_text_files(coder, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("cough")
    (folder / "b.txt").write_bytes(b"\xff\xfe\x00")
    out = tmp_path / "p.jsonl"
    assert main(["code", "--corpus", str(folder), "--format", "text", "--out", str(out), "--coder", coder]) == 1
    assert [json.loads(text)["note_id"] for text in out.read_text().splitlines()] == ["a.txt"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (SECRET.encode() + b"\0", "NUL"),
        (SECRET.encode() + b"\xff", "not UTF-8 at byte 9"),
    ],
)
def test_what_is_no_note_exits_2_with_one_sentence(coder, tmp_path, capsys, content, sentence):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    assert main(["code", str(path), "--coder", coder]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert sentence in err
    assert "bad.txt" in err
    assert SECRET not in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "either one note or a --corpus"),
        (["{note}", "--corpus", "{note}", "--out", "{tmp}/p"], "either one note or a --corpus"),
        (["--corpus", "{note}"], "--corpus and --out go together"),
        (["{note}", "--out", "{tmp}/p"], "--corpus and --out go together"),
        (["{note}", "--top", "0"], "--top 0"),
        (["{tmp}/missing.txt"], "missing.txt"),
        (["{tmp}"], "is a folder; code all of it with --corpus"),
        (["--corpus", "{tmp}/missing.jsonl", "--out", "{tmp}/p"], "missing.jsonl"),
        (["--corpus", "{note}", "--format", "jsnl", "--out", "{tmp}/p"], "did you mean 'jsonl'"),
        (["{note}", "--coder", "{tmp}/none"], "concept-icd demo"),
        (["{note}", "--model", "{tmp}/none"], "--model"),
    ],
)
def test_wrong_arguments_exit_2_and_leave_nothing(coder, note, tmp_path, capsys, arguments, sentence):
    filled = [argument.format(note=note, tmp=tmp_path) for argument in arguments]
    assert main(["code", "--coder", coder, *filled]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert sentence in err
    assert list(tmp_path.iterdir()) == [note]


def test_a_corpus_without_a_readable_note_exits_2(coder, tmp_path, capsys):
    corpus = write_corpus(tmp_path / "notes.jsonl", line("a", " "))
    out = tmp_path / "p.jsonl"
    assert main(["code", "--corpus", str(corpus), "--out", str(out), "--coder", coder]) == 2
    assert "no note that can be read" in capsys.readouterr().err
    assert not out.exists()
