"""JSON lines and text in general; what the other forms have of their own stands in test_forms.py."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.readers.label_sets import read_codes
from concept_icd.readers.predictions import read_gold, read_predictions
from concept_icd.records import CodedNote, Note


def lines(path, *records):
    text = "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def entry(code, probability, **more):
    return {"code": code, "probability": probability, **more}


def test_both_forms_of_predictions_mean_the_same(tmp_path):
    listed = lines(
        tmp_path / "a", {"note_id": "n", "codes": [entry("428.0", 0.9), entry("4019", 0.2, kind="diagnosis")]}
    )
    mapped = lines(tmp_path / "b", {"note_id": "n", "probabilities": {"428.0": 0.9, "401.9": 0.2}})
    for path in (listed, mapped):
        found = read_predictions(path)
        assert (found.note_ids, found.codes) == (("n",), ("428.0", "401.9"))
        assert found.probabilities.tolist() == [[0.9, 0.2]]


def test_a_code_that_a_line_does_not_name_has_probability_0_and_is_known_to_be_unnamed(tmp_path):
    found = read_predictions(
        lines(
            tmp_path / "p",
            {"note_id": "a", "codes": [entry("428.0", 0.9, rank=1, accepted=True)]},
            {"note_id": "b", "codes": [entry("401.9", 0.4, rank=1, accepted=False)]},
        )
    )
    assert found.probabilities.tolist() == [[0.9, 0], [0, 0.4]]
    assert found.named.tolist() == [[True, False], [False, True]]
    assert found.scores.tolist() == [[-1, -float("inf")], [-float("inf"), -1]]
    assert found.accepted.tolist() == [[True, False], [False, False]]


def test_the_recall_expected_is_read_where_every_code_has_it(tmp_path):
    full = [
        {"note_id": "a", "codes": [entry("428.0", 0.9, expected_recall=0.7), entry("401.9", 0.4, expected_recall=1)]},
        {"note_id": "b", "codes": [entry("401.9", 0.4, expected_recall=0.2)]},
    ]
    found = read_predictions(lines(tmp_path / "full", *full)).expected
    assert found[0].tolist() == [0.7, 1.0]
    assert (np.isnan(found[1, 0]), found[1, 1]) == (True, 0.2)
    for other in (None, "0.2", True, 1.5, -0.1):
        full[1]["codes"][0]["expected_recall"] = other
        assert read_predictions(lines(tmp_path / "some", *full)).expected is None


def test_gold_in_either_form_keeps_leading_zeros(tmp_path):
    path = lines(
        tmp_path / "gold",
        {"note_id": "a", "codes": ["003.0", "04.07"], "text": "not read"},
        {"note_id": "b", "diagnoses": ["0030", "V3001"], "procedures": ["0407"]},
        {"note_id": "c", "codes": []},
    )
    assert read_gold(path).codes == {"a": ("003.0", "04.07"), "b": ("003.0", "V30.01", "04.07"), "c": ()}


def test_lists_of_gold_are_billing_orders_unless_annotators_voted(tmp_path):
    path = lines(
        tmp_path / "gold",
        {"note_id": "a", "codes": ["99.04", "428.0", "401.9", "38.93", "428.0"]},
        {"note_id": "b", "diagnoses": ["401.9"], "procedures": [], "principal": "486"},
        {"note_id": "c", "procedures": ["3893"]},
    )
    billed = {note.note.note_id: note for note in read_gold(path).billed}
    assert (billed["a"].diagnoses, billed["a"].procedures) == (("428.0", "401.9"), ("99.04", "38.93"))
    assert [billed[note].principal_diagnosis for note in "abc"] == ["428.0", "486", None]
    vote = {"note_id": "d", "codes": ["401.9"], "annotations": {"company": ["401.9"]}}
    assert read_gold(lines(tmp_path / "vote", *path.read_text().splitlines(), vote)).billed is None


def test_a_table_of_gold_has_no_order(tmp_path):
    (tmp_path / "test_50.csv").write_text("HADM_ID,LABELS\n1,428.0;401.9\n")
    assert read_gold(tmp_path / "test_50.csv").billed is None


def test_a_prepared_corpus_has_an_order_unless_annotators_voted(tmp_path):
    note = CodedNote(Note("a", "text"), ("428.0", "401.9"), ("99.04",), principal="486")
    save_corpus(tmp_path / "billed", [note])
    (found,) = read_gold(tmp_path / "billed").billed
    assert (found.diagnoses, found.procedures, found.principal_diagnosis) == (note.diagnoses, note.procedures, "486")
    save_corpus(tmp_path / "vote", [dataclasses.replace(note, annotations={"company": ("401.9",)})])
    assert read_gold(tmp_path / "vote").billed is None


def test_ranks_count_only_where_they_are_an_order(tmp_path):
    twice = {"note_id": "a", "codes": [entry("428.0", 0.6, rank=1), entry("99.04", 0.7, rank=1)]}
    assert read_predictions(lines(tmp_path / "p", twice)).scores is None
    endless = {"note_id": "a", "codes": [entry("428.0", 0.6, rank=10**40)]}
    assert read_predictions(lines(tmp_path / "p", endless)).scores is None


def test_what_a_coder_says_of_itself_is_kept_and_in_sample_is_never_lost(tmp_path):
    def line(note, fitted):
        return {"note_id": note, "codes": [], "versions": {"coder": "abc", "heads_fitted_on": fitted}}

    mixed = lines(tmp_path / "p", line("a", "out-of-fold scores"), line("b", "IN-SAMPLE scores"), line("c", "x"))
    assert read_predictions(mixed).versions == {"coder": "abc", "heads_fitted_on": "IN-SAMPLE scores"}


def test_labels_of_a_set_are_taken_as_they_are_spelled_and_junk_is_not(tmp_path):
    spoilt = lines(tmp_path / "p", {"note_id": "a", "probabilities": {"66.": 0.5, "40.7": 0.4, "V3001": 0.3}})
    assert read_predictions(spoilt, ["66.", "40.7", "V30.01"]).codes == ("66.", "40.7", "V30.01")
    with pytest.raises(InputError, match=r"line 1: '66\.' is no"):
        read_predictions(spoilt)
    gold = lines(tmp_path / "g", {"note_id": "a", "codes": ["66.", "banana"]})
    with pytest.raises(InputError, match="'banana' is no"):
        read_gold(gold, ["66."])


def test_a_label_set_may_hold_spoilt_labels_and_joined_ones(tmp_path):
    path = lines(tmp_path / "codes", "# the set", "428.0", "", "34.71;34.71", " 66. ; 7.", "V3001")
    assert read_codes(path) == ("428.0", "34.71", "66.", "7.", "V30.01")
    with pytest.raises(InputError, match=r"codes, line 2: '4280' may be 42\.80 or 428\.0"):
        read_codes(lines(tmp_path / "codes", "428.0", "4280"))
    with pytest.raises(InputError, match=r"codes, line 2: not a code of ICD-9-CM$"):  # it may be a note's: not quoted
        read_codes(lines(tmp_path / "codes", "428.0", "Age 65"))
    with pytest.raises(InputError, match="names no code"):
        read_codes(lines(tmp_path / "codes", "# nothing"))


GOOD = {"note_id": "a", "probabilities": {"428.0": 0.5}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2 is not valid JSON"),
        ("[" * 100_000, "line 2 is not valid JSON"),
        ('"text"', 'line 2: it needs a "note_id"'),
        ({"note_id": 7, "probabilities": {}}, 'line 2: it needs a "note_id"'),
        (GOOD, "line 2: note_id 'a' stands on line 1 already"),
        ({"note_id": "b"}, 'line 2: it needs "codes"'),
        ({"note_id": "b", "codes": ["428.0"]}, 'line 2: it needs "codes"'),
        ({"note_id": "b", "probabilities": {"banana": 0.5}}, "line 2: 'banana' is no"),
        ({"note_id": "b", "codes": [entry(428.0, 0.5)]}, "line 2: a code is text in quotes, not 428.0"),
        ({"note_id": "b", "codes": [entry("428.0", 1.5)]}, "line 2: the probability of 428.0 is 1.5"),
        ({"note_id": "b", "codes": [entry("428.0", "0.5")]}, "the probability of 428.0 is '0.5'"),
        ({"note_id": "b", "codes": [entry("428.0", 0.5, kind=["x"])]}, "the kind of '428.0' is"),
        ({"note_id": "b", "codes": [{"code": "428.0"}]}, "the probability of 428.0 is None"),
        ('{"note_id": "b", "probabilities": {"428.0": NaN}}', "the probability of 428.0 is nan"),
        (
            {"note_id": "b", "probabilities": {"V30.01": 0.1, "V3001": 0.5}},
            "line 2: the code V30.01 stands there twice",
        ),
    ],
)
def test_a_bad_line_of_predictions_is_told(tmp_path, line, message):
    with pytest.raises(InputError) as raised:
        read_predictions(lines(tmp_path / "p.jsonl", GOOD, line))
    assert message in str(raised.value)
    assert "p.jsonl" in str(raised.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"note_id": "b"}, 'line 2: it needs "codes"'),
        ({"note_id": "b", "codes": "428.0"}, 'line 2: it needs "codes"'),
        ({"note_id": "b", "codes": [4280]}, "line 2: a code is text in quotes, not 4280"),
        ({"note_id": "b", "diagnoses": ["99.04"]}, "line 2: '99.04' is no"),
        ({"note_id": "b", "codes": [], "patient_id": 3}, "line 2: patient_id is text"),
        ({"note_id": "b", "codes": [], "patient_id": "p"}, "1 of 2 notes have a patient_id"),
    ],
)
def test_a_bad_line_of_gold_is_told(tmp_path, line, message):
    with pytest.raises(InputError) as raised:
        read_gold(lines(tmp_path / "gold.jsonl", {"note_id": "a", "codes": ["428.0"]}, line))
    assert message in str(raised.value)


def test_files_that_are_no_text_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_gold(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no line"):
        read_gold(lines(tmp_path / "empty", ""))
    (tmp_path / "latin").write_bytes('{"note_id": "a"}\n{"note_id": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="line 1: it needs"):
        read_gold(tmp_path / "latin")
    (tmp_path / "latin").write_bytes('{"note_id": "a", "codes": []}\n{"note_id": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        read_gold(tmp_path / "latin")


def test_a_byte_order_mark_is_no_part_of_the_line(tmp_path):
    path = tmp_path / "gold"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"note_id": "a", "codes": []}).encode())
    assert list(read_gold(path).codes) == ["a"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["note_id", "codes", "probabilities", "code", "probability", "rank", "accepted", "kind"]),
            inner,
        )
    ),
)


@given(JSON)
def test_whatever_json_a_line_holds_it_is_read_or_told(tmp_path_factory, value):
    path = lines(tmp_path_factory.getbasetemp() / "fuzz.jsonl", json.dumps(value))
    for read in (lambda: read_predictions(path).note_ids, lambda: read_gold(path).codes):
        told = ""
        try:
            assert set(read()) == {value["note_id"]}
        except InputError as error:
            told = str(error)
        assert "fuzz.jsonl" in told or not told


@settings(deadline=None)  # the first matrix imports Arrow
@given(st.sampled_from(["csv", "psv", "tsv", "json"]), st.text() | JSON.map(json.dumps) | st.just("id|428.0\nb|"))
def test_whatever_another_file_holds_it_is_read_or_told(tmp_path_factory, ending, text):
    path = tmp_path_factory.getbasetemp() / f"fuzz.{ending}"
    path.write_text(text, encoding="utf-8", errors="replace")
    for read in (read_predictions, read_gold):
        told = ""
        try:
            read(path)
        except InputError as error:
            told = str(error)
        assert "fuzz" in told or not told
