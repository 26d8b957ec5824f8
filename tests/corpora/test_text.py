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
