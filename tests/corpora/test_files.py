"""What is opened, and what is not: pipes, devices, bombs; line ends; names that are not UTF-8."""

import gzip
import json
import os
import zipfile

import pytest

from concept_icd import files
from concept_icd.corpora import read_corpus_leniently, read_jsonl, read_text_folder
from concept_icd.errors import InputError
from concept_icd.ontology.nchs.files import read_text
from concept_icd.readers.predictions import read_gold, read_predictions

LINES = [{"note_id": "a", "text": "Cough."}, {"note_id": "b", "text": "Fever."}]


@pytest.mark.parametrize("read", [read_corpus_leniently, read_jsonl, read_gold, read_predictions, read_text_folder])
def test_a_pipe_is_refused_before_it_is_opened(tmp_path, read):
    os.mkfifo(tmp_path / "notes.jsonl")
    with pytest.raises(InputError, match="is a pipe or a device, not a file"):
        read(tmp_path / "notes.jsonl")


def test_a_device_is_refused(tmp_path):
    (tmp_path / "notes.jsonl").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a pipe or a device"):
        read_jsonl(tmp_path / "notes.jsonl")


def test_a_gzip_bomb_ends_in_a_sentence(tmp_path):
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb", compresslevel=9) as file:
        file.write(b'{"note_id": "a", "text": "')
        for _ in range(130):
            file.write(b"a" * (1 << 20))
        file.write(b'"}\n')
    for read in (read_jsonl, read_gold):
        with pytest.raises(InputError, match="unpacks to more than 500 times its size"):
            read(tmp_path / "bomb.jsonl.gz")


def test_a_zip_bomb_ends_in_a_sentence(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("Dtab12.rtf", "w", force_zip64=True) as member,
    ):
        for _ in range(70):
            member.write(b"a" * (1 << 20))
    with pytest.raises(InputError, match="unpacks to more than 64 MiB"):
        read_text(tmp_path / "bomb.zip")


def test_repeated_text_is_no_bomb(tmp_path):
    lines = "".join(json.dumps({"note_id": str(n), "text": "Cough and fever."}) + "\n" for n in range(20_000))
    (tmp_path / "n.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert len(read_jsonl(tmp_path / "n.jsonl.gz")) == 20_000


def test_a_note_above_the_limit_is_a_failure_and_the_others_are_read(tmp_path, monkeypatch):
    for module in (files, __import__("concept_icd.corpora.jsonl", fromlist=["x"])):
        monkeypatch.setattr(module, "LONGEST", 1 << 20)
    monkeypatch.setattr(files.read_bytes, "__defaults__", (1 << 20,))
    long = {"note_id": "long", "text": "x" * (3 << 20)}
    (tmp_path / "n.jsonl").write_text("\n".join(map(json.dumps, [LINES[0], long, LINES[1]])))
    notes, (failure,) = read_corpus_leniently(tmp_path / "n.jsonl")
    assert [coded.note.note_id for coded in notes] == ["a", "b"]
    assert str(failure).endswith("n.jsonl, line 2: the line has more than 1 MiB; no note is that long")
    (tmp_path / "long.txt").write_text("x" * (3 << 20))
    (tmp_path / "short.txt").write_text("x")
    notes, (failure,) = read_corpus_leniently(tmp_path, "text")
    assert [coded.note.note_id for coded in notes] == ["short.txt"]
    assert "holds more than 1 MiB" in failure.reason


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(tmp_path, end):
    (tmp_path / "n.jsonl").write_bytes(b"\xef\xbb\xbf" + end.join(map(json.dumps, LINES)).encode() + end.encode())
    assert [coded.note.text for coded in read_jsonl(tmp_path / "n.jsonl")] == ["Cough.", "Fever."]
    gold = [{"note_id": "a", "codes": ["486"]}, {"note_id": "b", "codes": ["401.9"]}]
    (tmp_path / "gold.jsonl").write_bytes(b"\xef\xbb\xbf" + end.join(map(json.dumps, gold)).encode())
    assert read_gold(tmp_path / "gold.jsonl").codes == {"a": ("486",), "b": ("401.9",)}


def test_names_that_are_not_utf8_become_ids_that_can_be_printed(tmp_path):
    for name in (b"befund-m\xfcller.txt", b"befund-m\\xfcller.txt", b"two\nlines.txt"):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(b"Cough.")
    with open(os.fsencode(tmp_path) + b"/b\xe9.txt", "wb") as file:
        file.write(b"caf\xe9")
    notes, failures = read_corpus_leniently(tmp_path, "text")
    ids = [coded.note.note_id for coded in notes]
    assert sorted(ids) == ["befund-m\\xfcller.txt", "two\\nlines.txt"]
    assert len(failures) == 2  # the second of one id, and the one that is not UTF-8 inside
    for said in (*ids, *map(str, failures)):
        said.encode()
        assert said.isprintable()


def test_a_byte_that_is_not_utf8_in_the_path_of_a_message():
    assert files.printable(os.fsdecode(b"m\xfcller")) == "m\\xfcller"
