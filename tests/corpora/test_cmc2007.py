"""The CMC 2007 reader, on the real files where they are, and on small files of the same shape."""

from pathlib import Path

import pytest

from concept_icd.corpora import read_cmc2007, read_corpus, read_corpus_leniently
from concept_icd.errors import InputError


def report(note_id="7", gold="786.2", text="Cough."):
    codes = f'<code origin="CMC_MAJORITY" type="ICD-9-CM">{gold}</code>' if gold else ""
    return f"""<doc id="{note_id}" type="RADIOLOGY_REPORT">
<codes>{codes}<code origin="COMPANY2" type="ICD-9-CM">.486.</code></codes>
<texts><text origin="CCHMC_RADIOLOGY" type="CLINICAL_HISTORY">{text}</text>
<text origin="CCHMC_RADIOLOGY" type="IMPRESSION"> </text></texts></doc>
"""


def write(path: Path, *reports: str, head: str = "<docs>\n") -> Path:
    path.write_text(head + "".join(reports) + "</docs>")
    return path


def test_the_real_corpus_has_the_published_counts(shared_data):
    notes = read_cmc2007(shared_data / "cmc2007")
    train = [note for note in notes if note.split == "train"]
    test = [note for note in notes if note.split == "test"]
    assert (len(train), len(test), len(notes)) == (978, 976, 1954)
    assert sum(len(note.codes) for note in train) == 1218
    assert len({code for note in train for code in note.codes}) == 45
    assert len({frozenset(note.codes) for note in train}) == 94
    assert all(not note.codes and not note.annotations for note in test)
    assert all(set(note.annotations) <= {"COMPANY1", "COMPANY2", "COMPANY3"} for note in train)
    # 3,812 codes of companies stand in the file
    assert sum(len(codes) for note in train for codes in note.annotations.values()) == 1397 + 1404 + 1011
    assert all(note.note.text.startswith("CLINICAL HISTORY: ") for note in notes)
    assert all("\nIMPRESSION: " in note.note.text for note in notes)


def test_one_of_the_real_files_alone(shared_data):
    assert len(read_cmc2007(shared_data / "cmc2007" / "test_without_codes.xml")) == 976


def test_gold_is_the_majority_and_the_companies_are_annotations(tmp_path):
    (note,) = read_cmc2007(write(tmp_path / "train.xml", report()))
    assert note.note.note_id == "7"
    assert note.note.text == "CLINICAL HISTORY: Cough."  # the empty section has no heading
    assert (note.diagnoses, note.procedures) == (("786.2",), ())
    assert note.annotations == {"COMPANY2": ("486",)}  # stray dots are dropped
    assert note.split == "train"
    assert read_cmc2007(write(tmp_path / "other.xml", report()))[0].split is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("<docs>\n<doc id='1'>\n</docs>", "line 3: malformed XML (mismatched tag)"),
        ("", "malformed XML (no element found)"),
        ("<html></html>", "outermost element is <html>"),
        (f"<docs>\n{report(note_id='')}</docs>", "line 2: the <doc> has no id"),
        (f"<docs>\n{report(text=' ')}</docs>", "line 2: the note is empty"),
        (f"<docs>\n{report(gold='cough')}</docs>", "line 2: "),
        (f"<docs>\n{report(gold='27.00')}</docs>", "line 2: "),  # has the shape of a procedure
        (f"<docs>\n{report()}{report()}</docs>", "the note id '7' is taken already"),
    ],
)
def test_bad_files_get_one_sentence_that_names_the_place(tmp_path, content, sentence):
    path = tmp_path / "train.xml"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_cmc2007(path)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_nul_bytes_are_malformed_xml(tmp_path):
    path = tmp_path / "train.xml"
    path.write_bytes(b"<docs>\n\0</docs>")
    with pytest.raises(InputError, match="line 2: malformed XML"):
        read_cmc2007(path)


def test_an_entity_bomb_is_refused_before_it_swells(tmp_path):
    bomb = '<!DOCTYPE docs [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {name} "{10 * f"&{inner};"}">' for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    path = write(tmp_path / "train.xml", report(text="&i;"), head=bomb + "]>\n<docs>\n")
    with pytest.raises(InputError, match="a DTD is not allowed here"):
        read_cmc2007(path)


def test_a_missing_file_and_a_folder_without_the_files(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_cmc2007(tmp_path / "train.xml")
    with pytest.raises(InputError, match="holds none of the CMC 2007 files"):
        read_cmc2007(tmp_path)


def test_one_bad_report_does_not_stop_the_others(tmp_path):
    path = write(tmp_path / "train.xml", report("1"), report("2", gold="nonsense"), report("1"), report("3", gold=""))
    notes, failures = read_corpus_leniently(path)
    assert [note.note.note_id for note in notes] == ["1", "3"]
    assert [failure.note_id for failure in failures] == ["2", "1"]
    assert failures[0].place == f"{path}, line 6"
    with pytest.raises(InputError):
        read_corpus(path)


@pytest.mark.parametrize("encoding", ["utf-7", "no-such-encoding", "utf-32"])
def test_xml_in_an_encoding_that_cannot_be_read(tmp_path, encoding):
    (tmp_path / "n.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?><docs/>'.encode())
    with pytest.raises(InputError, match=r"n\.xml.*encoding"):
        read_cmc2007(tmp_path / "n.xml")
