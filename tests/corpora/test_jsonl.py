"""The JSON lines reader: strict about what can be got wrong silently, one failure a bad line."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.corpora import read_corpus_leniently, read_jsonl
from concept_icd.corpora.jsonl import FIELDS
from concept_icd.errors import InputError
from concept_icd.text.normalization import normalize

FULL = {
    "note_id": "a",
    "text": "Shortness of breath.",
    "patient_id": "p",
    "age": 71,
    "sex": "F",
    "drugs": ["furosemide"],
    "diagnoses": ["4280", "001.0", "V1000", "E888", "428.0"],
    "procedures": ["0407", "38.93"],
    "annotations": {"A": ["428.0"]},
    "split": "dev",
}


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_every_field(tmp_path):
    (coded,) = read_jsonl(write(tmp_path / "n.jsonl", FULL))
    assert (coded.note.note_id, coded.note.patient_id, coded.note.age, coded.note.sex) == ("a", "p", 71.0, "F")
    assert coded.note.drugs == ("furosemide",)
    assert coded.diagnoses == ("428.0", "001.0", "V10.00", "E888")  # dotted, in order, the repeat dropped
    assert coded.procedures == ("04.07", "38.93")
    assert coded.annotations == {"A": ("428.0",)}
    assert coded.split == "dev"


def test_sex_and_age_as_fhir_omop_and_mimic_write_them(tmp_path):
    rows = [("female", 0), ("f", 300), ("Female", "> 89"), (8532, 95), ("male", None), ("M", 1), ("unknown", 2)]
    lines = [{"note_id": str(n), "text": "x", "sex": sex, "age": age} for n, (sex, age) in enumerate(rows)]
    notes = [coded.note for coded in read_jsonl(write(tmp_path / "n.jsonl", *lines))]
    assert [note.sex for note in notes] == ["F", "F", "F", "F", "M", "M", None]
    assert [note.age for note in notes] == [0.0, 90.0, 90.0, 95.0, None, 1.0, 2.0]


def test_women_are_women_to_the_medication_network(tmp_path):
    pytest.importorskip("torch")
    from concept_icd.experts.drugs import stays_of

    lines = [{"note_id": sex, "text": "x", "sex": sex, "drugs": ["Acetaminophen"]} for sex in ("female", "male", "f")]
    stays = stays_of([coded.note for coded in read_jsonl(write(tmp_path / "n.jsonl", *lines))])
    assert stays.inputs[:, [stays.input_names.index("female")]].toarray().ravel().tolist() == [1.0, 0.0, 1.0]


def test_codes_in_one_list_are_told_apart_by_their_dots(tmp_path):
    (coded,) = read_jsonl(
        write(tmp_path / "n.jsonl", {"note_id": "a", "text": "x", "codes": ["38.93", "038.9", "486"]})
    )
    assert (coded.diagnoses, coded.procedures) == (("038.9", "486"), ("38.93",))


def test_gzip_byte_order_mark_blank_lines_and_unknown_fields(tmp_path):
    path = tmp_path / "n.jsonl.gz"
    line = json.dumps({"note_id": "a", "text": "Caf\u00e9 \u2028 x", "ward": "7"}, ensure_ascii=False)
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + line.encode() + b"\n\n"))
    (coded,) = read_jsonl(path)
    assert coded.note.text == "Caf\u00e9 \u2028 x"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"note_id": "a", "text": }', "malformed JSON at column 26"),
        ("[" * 200_000, "malformed JSON"),
        ('["a"]', "a JSON object is needed, not a list"),
        ({"text": "x"}, "the field 'note_id' is missing"),
        ({"note_id": "", "text": "x"}, "the field 'note_id' is empty"),
        ({"note_id": 12, "text": "x"}, "'note_id' must hold text in quotes, not a number"),
        ({"note_id": "a"}, "the field 'text' is missing"),
        ({"note_id": "a", "text": " \n"}, "the note is empty"),
        ({"note_id": "a", "text": "ab\0c"}, "NUL character (character 2)"),
        ('{"note_id": "a", "text": "\\ud800"}', "half of a surrogate pair at character 0"),
        (
            {"note_id": "a", "text": "x", "diagnoses": [428.0]},
            "428.0 in 'diagnoses' is a number: write it as a string (\"",
        ),
        ({"note_id": "a", "text": "x", "diagnoses": "428.0"}, "'diagnoses' must be a list of strings, not a string"),
        ({"note_id": "a", "text": "x", "diagnoses": [None]}, "'diagnoses' must hold text in quotes, not null"),
        ({"note_id": "a", "text": "x", "diagnoses": ["heart"]}, "'heart'"),
        ({"note_id": "a", "text": "x", "diagnoses": ["38.93"]}, "38.93"),
        ({"note_id": "a", "text": "x", "procedures": ["428.0"]}, "428.0"),
        ({"note_id": "a", "text": "x", "codes": ["4280"]}, "4280"),  # kind unknown: 428.0 or 42.80?
        ({"note_id": "a", "text": "x", "codes": ["486"], "diagnoses": ["486"]}, "give either 'codes' or"),
        ({"note_id": "a", "text": "x", "diagnosis": ["486"]}, "unknown field 'diagnosis': is 'diagnoses' meant?"),
        ({"note_id": "a", "text": "x", "annotations": ["486"]}, "'annotations' must be an object"),
        ({"note_id": "a", "text": "x", "age": "71"}, "'age' must be a number of years"),
        ('{"note_id": "a", "text": "x", "age": NaN}', "'age' must be a number of years"),
        ({"note_id": "a", "text": "x", "age": -1}, "'age' must be a number of years"),
        ({"note_id": "a", "text": "x", "age": 200}, "'age' must be a number of years"),
        ({"note_id": "a", "text": "x", "sex": "weiblich"}, "'sex' must be"),
        ({"note_id": "a", "text": "x", "sex": 1}, "'sex' must be"),
        ({"note_id": "a", "text": "x", "split": "validation"}, "'split' must be"),
    ],
)
def test_a_bad_line_gets_one_sentence_and_the_others_are_read(tmp_path, line, sentence):
    path = write(tmp_path / "n.jsonl", {"note_id": "first", "text": "x"}, line, {"note_id": "last", "text": "x"})
    with pytest.raises(InputError) as error:
        read_jsonl(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    notes, failures = read_corpus_leniently(path)
    assert [coded.note.note_id for coded in notes] == ["first", "last"]
    assert [str(failure) for failure in failures] == [str(error.value)]


def test_the_second_note_of_an_id_is_a_failure(tmp_path):
    path = write(tmp_path / "n.jsonl", *({"note_id": note, "text": note} for note in "aba"))
    notes, (failure,) = read_corpus_leniently(path)
    assert [coded.note.note_id for coded in notes] == ["a", "b"]
    assert failure.note_id == "a"
    assert str(failure) == f"{path}, line 3: the note id 'a' is taken already ({path}, line 1); ids must be unique"


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "n.jsonl"
    path.write_bytes(b'{"note_id": "a", "text": "x"}\n{"note_id": "b", "text": "\xe9"}\n')
    notes, (failure,) = read_corpus_leniently(path)
    assert len(notes) == 1
    assert "line 2: not UTF-8 at byte 26" in str(failure)


def test_no_such_file_and_damaged_gzip(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_jsonl(tmp_path / "n.jsonl")
    (tmp_path / "n.jsonl.gz").write_bytes(b"plain text")
    with pytest.raises(InputError, match="cannot read"):
        read_jsonl(tmp_path / "n.jsonl.gz")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(FULL).encode())[:-12])
    with pytest.raises(InputError, match="cannot read"):
        read_jsonl(tmp_path / "cut.jsonl.gz")


def test_a_note_of_a_million_characters_is_read(tmp_path):
    (coded,) = read_jsonl(write(tmp_path / "n.jsonl", {"note_id": "a", "text": "x" * 1_000_000}))
    assert len(coded.note.text) == 1_000_000


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(characters, min_size=1).filter(lambda text: normalize(text).text)


@given(st.lists(st.tuples(texts, texts), unique_by=lambda pair: pair[0], max_size=5), st.booleans())
def test_any_text_comes_back_as_it_went_in(tmp_path_factory, notes, ascii_only):
    path = tmp_path_factory.mktemp("jsonl") / "n.jsonl"
    lines = [json.dumps({"note_id": i, "text": text}, ensure_ascii=ascii_only) for i, text in notes]
    path.write_bytes("\n".join(lines).encode())
    assert [(coded.note.note_id, coded.note.text) for coded in read_jsonl(path)] == notes


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["486", "38.93"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=9), values, max_size=6) | values)
def test_any_json_is_a_note_or_a_failure_but_never_a_crash(tmp_path_factory, record):
    line = json.dumps({"note_id": "a", "text": "x", **record} if isinstance(record, dict) else record)
    notes, failures = read_corpus_leniently(write(tmp_path_factory.mktemp("jsonl") / "n.jsonl", line), "jsonl")
    assert len(notes) + len(failures) == 1
    assert all(isinstance(code, str) for coded in notes for code in coded.codes)


@given(st.binary(max_size=60))
def test_any_bytes_are_notes_or_failures_but_never_a_crash(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("jsonl") / "n.jsonl"
    path.write_bytes(data)
    notes, failures = read_corpus_leniently(path, "jsonl")
    assert len(notes) + len(failures) == sum(bool(line.strip()) for line in data.split(b"\n"))


def test_a_principal_diagnosis_outside_the_labels(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"note_id": "a", "text": "t", "diagnoses": ["486"], "principal": "4280"}\n')
    (coded,) = read_jsonl(path)
    assert (coded.principal, coded.principal_diagnosis) == ("428.0", "428.0")
    path.write_text('{"note_id": "a", "text": "t", "diagnoses": ["486"], "principal": "99.04"}\n')
    with pytest.raises(InputError, match=r"'99\.04' is no icd9cm diagnosis code"):
        read_jsonl(path)


def test_ids_and_texts_by_other_names_are_guessed_aloud(tmp_path, capsys):
    path = write(tmp_path / "n.jsonl", {"ID": "a", "note": "Cough."}, {"ID": "b", "note": "Pain.", "report": "no"})
    assert [(coded.note.note_id, coded.note.text) for coded in read_jsonl(path)] == [("a", "Cough."), ("b", "Pain.")]
    said = capsys.readouterr().err
    assert "note_id from 'ID', by its name; --id-column" in said
    assert "text from 'note', by its name" in said
    path = write(tmp_path / "m.jsonl", {"note_id": "a", "text": "x"}, {"id": "b", "text": "y"})
    with pytest.raises(InputError, match=r"line 2: the field 'note_id' is missing; name another with --id-column"):
        read_jsonl(path)


@pytest.mark.parametrize("note_id", ["a\0", " ", "\u00a0\n"])
def test_ids_that_are_none_are_refused(tmp_path, note_id):
    path = write(tmp_path / "n.jsonl", {"note_id": note_id, "text": "x"})
    with pytest.raises(InputError, match=r"line 1: the field 'note_id' (holds a NUL|is empty)"):
        read_jsonl(path)


def test_what_stands_where_a_code_is_expected_is_not_quoted_when_it_may_be_a_note(tmp_path):
    for words in ("John Smith has pain", "x" * 21):
        path = write(tmp_path / "n.jsonl", {"note_id": "a", "text": "x", "diagnoses": [words]})
        with pytest.raises(
            InputError, match=rf"a text of {len(words)} characters is no icd9cm diagnosis code"
        ) as error:
            read_jsonl(path)
        assert words not in str(error.value)


@pytest.mark.parametrize("code", ["E11.9", "J18.9", "I10", "Z38.00", "S72001A", "0DTJ4ZZ", "M545"])
def test_codes_of_icd_10_are_called_so(tmp_path, code):
    path = write(tmp_path / "n.jsonl", {"note_id": "a", "text": "x", "codes": [code]})
    with pytest.raises(InputError, match=f"'{code}' is no icd9cm diagnosis or procedure code; is it of ICD-10"):
        read_jsonl(path)
