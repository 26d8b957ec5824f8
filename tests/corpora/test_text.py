import gzip
import os

import pytest

from concept_icd.corpora import read_corpus_leniently, read_text_folder
from concept_icd.errors import InputError


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / "a.txt").write_text("second")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbffirst\r\n")
    (tmp_path / "b.md").write_text("not a note")
    notes = read_text_folder(tmp_path)
    assert [(coded.note.note_id, coded.note.text) for coded in notes] == [
        ("b.txt", "first\r\n"),
        ("ward/a.txt", "second"),
    ]
    assert all(coded.codes == () for coded in notes)


def test_one_file(tmp_path):
    (tmp_path / "note").write_text("Cough.")
    assert read_text_folder(tmp_path / "note")[0].note.note_id == "note"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the note is empty"),
        (b" \n\t", "the note is empty"),
        (b"abc\0", "NUL character (character 3)"),
        (b"caf\xe9", "not UTF-8 at byte 3; convert it"),
        (b"{\\rtf1\\ansi Cough.}", "an RTF or a PDF file, not plain text"),
        (b"%PDF-1.7\n", "an RTF or a PDF file, not plain text"),
        (b'{"note_id": "a", "text": "Cough."}\n', "it holds JSON, not a note"),
        (b'[\n {"note_id": "a", "text": "Cough."}]', "it holds JSON, not a note"),
    ],
)
def test_a_bad_file_gets_one_sentence_and_the_others_are_read(tmp_path, content, sentence):
    (tmp_path / "bad.txt").write_bytes(content)
    (tmp_path / "good.txt").write_text("Cough.")
    with pytest.raises(InputError) as error:
        read_text_folder(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'bad.txt'}: ")
    assert sentence in str(error.value)
    notes, failures = read_corpus_leniently(tmp_path)
    assert [coded.note.note_id for coded in notes] == ["good.txt"]
    assert [(failure.note_id, str(failure)) for failure in failures] == [("bad.txt", str(error.value))]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_a_failure(tmp_path):
    (tmp_path / "a.txt").write_text("Cough.")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_text_folder(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_text_folder(tmp_path / "x")
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read_text_folder(tmp_path)


def test_endings_in_any_case_and_gzipped(tmp_path):
    for name in ("a.txt", "B.TXT", "c.text", "d.Text"):
        (tmp_path / name).write_text("Cough.")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"Fever."))
    notes = read_text_folder(tmp_path)
    assert [coded.note.note_id for coded in notes] == ["B.TXT", "a.txt", "c.text", "d.Text", "e.txt.gz"]
    assert notes[-1].note.text == "Fever."


def test_what_is_no_note_is_left_alone_and_counted(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "secret.txt").write_text("not of this corpus")
    folder = tmp_path / "notes"
    (folder / "a.txt").write_text("Cough.")
    for name in ("._a.txt", ".DS_Store", ".hidden.txt"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    for name in ("b.pdf", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.txt").write_bytes(b"\0")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.txt").write_text("x")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "inside.txt").symlink_to(folder / "a.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "gone.txt").symlink_to(folder / "nowhere.txt")
    os.mkfifo(folder / "pipe.txt")
    assert [coded.note.note_id for coded in read_text_folder(folder)] == ["a.txt", "inside.txt"]
    assert capsys.readouterr().err == (
        f"concept-icd: {folder}: 2 .txt files are notes; left alone: 2 files of other endings, 3 hidden files, "
        "1 links out of the folder, 1 links to folders, 2 pipes, devices or broken links\n"
    )
    (folder / "a.txt").unlink()
    (folder / "inside.txt").unlink()
    with pytest.raises(InputError, match=r"holds no \.txt file; left alone: 2 files of other endings, 3 hidden"):
        read_text_folder(folder)


def test_a_single_device_is_refused():
    with pytest.raises(InputError, match="is a pipe or a device"):
        read_text_folder("/dev/zero")
