import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.errors import InputError
from concept_icd.report.predictions import align, read_codes, read_gold, read_predictions


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
        note = read_predictions(path)["n"]
        assert note.codes == ("428.0", "401.9")
        assert note.probabilities.tolist() == [0.9, 0.2]


def test_gold_in_either_form_keeps_leading_zeros(tmp_path):
    path = lines(
        tmp_path / "gold",
        {"note_id": "a", "codes": ["003.0", "04.07"], "text": "not read"},
        {"note_id": "b", "diagnoses": ["0030", "V3001"], "procedures": ["0407"]},
        {"note_id": "c", "codes": []},
    )
    gold = read_gold(path)
    assert gold["a"].codes == ("003.0", "04.07")
    assert gold["b"].codes == ("003.0", "V30.01", "04.07")
    assert gold["c"].codes == ()


def test_alignment_by_hand(tmp_path):
    gold = read_gold(
        lines(
            tmp_path / "gold",
            {"note_id": "b", "patient_id": "p", "codes": ["428.0"]},
            {"note_id": "a", "patient_id": "q", "codes": ["401.9", "99.04"]},
        )
    )
    predictions = read_predictions(
        lines(
            tmp_path / "predictions",
            {
                "note_id": "a",
                "codes": [entry("401.9", 0.3, rank=1, accepted=True), entry("428.0", 0.6, rank=2, accepted=False)],
            },
            {"note_id": "b", "codes": [entry("428.0", 0.8, rank=1, accepted=True)]},
        )
    )
    found = align(predictions, gold)
    assert found.note_ids == ("b", "a")
    assert found.codes == ("401.9", "428.0", "99.04")
    assert found.gold.tolist() == [[0, 1, 0], [1, 0, 1]]
    assert found.probabilities.tolist() == [[0, 0.8, 0], [0.3, 0.6, 0]]
    assert found.scores.tolist() == [[-np.inf, -1, -np.inf], [-1, -2, -np.inf]]
    assert found.decisions.tolist() == [[False, True, False], [True, False, False]]
    assert found.patients == ("p", "q")
    assert found.label_set == "the 3 codes that occur in the gold or in the predictions"


def test_a_named_label_set_says_what_it_leaves_out(tmp_path):
    gold = read_gold(lines(tmp_path / "gold", {"note_id": "a", "codes": ["401.9", "99.04"]}))
    predictions = read_predictions(
        lines(tmp_path / "p", {"note_id": "a", "probabilities": {"428.0": 0.6, "V30.01": 1}})
    )
    codes = read_codes(lines(tmp_path / "codes", "# the set", "428.0", "", "9904"[:2] + ".04"))
    found = align(predictions, gold, codes)
    assert (found.codes, found.gold.tolist()) == (("428.0", "99.04"), [[False, True]])
    assert "1 gold and 1 predicted" in found.label_set
    assert (found.scores, found.decisions, found.patients) == (None, None, None)


def test_ranks_count_only_where_they_are_an_order(tmp_path):
    twice = {"note_id": "a", "codes": [entry("428.0", 0.6, rank=1), entry("99.04", 0.7, rank=1)]}
    assert read_predictions(lines(tmp_path / "p", twice))["a"].ranks is None
    endless = {"note_id": "a", "codes": [entry("428.0", 0.6, rank=10**40)]}
    assert read_predictions(lines(tmp_path / "p", endless))["a"].ranks is None


def test_notes_of_one_file_only_are_counted_and_named(tmp_path):
    gold = read_gold(lines(tmp_path / "gold", *({"note_id": f"g{n}", "codes": ["428.0"]} for n in range(5))))
    predictions = read_predictions(lines(tmp_path / "p", {"note_id": "g4", "probabilities": {}}))
    with pytest.raises(
        InputError, match=r"4 of the 5 notes of the gold file are not in the predictions: 'g0', 'g1', 'g2'"
    ):
        align(predictions, gold)
    with pytest.raises(InputError, match="1 of the 1 notes of the predictions"):
        align(read_predictions(lines(tmp_path / "q", {"note_id": "x", "probabilities": {}})), {})
    common = align(predictions, gold, only_common=True)
    assert common.note_ids == ("g4",)
    assert "left out: 4 gold notes without predictions, 0 without gold" in common.label_set
    with pytest.raises(InputError, match="no note is in both"):
        align(predictions, {"other": gold["g0"]}, only_common=True)


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
        ({"note_id": "b", "codes": [], "patient_id": "p"}, "1 of 2 lines have a patient_id"),
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
    with pytest.raises(InputError, match="codes, line 2: 'x' is no"):
        read_codes(lines(tmp_path / "codes", "428.0", "x"))


def test_a_byte_order_mark_is_no_part_of_the_line(tmp_path):
    path = tmp_path / "gold"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"note_id": "a", "codes": []}).encode())
    assert list(read_gold(path)) == ["a"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["note_id", "codes", "probabilities", "code", "probability", "rank", "accepted", "kind"]
                ),
                inner,
            )
        ),
    )
)
def test_whatever_json_a_line_holds_it_is_read_or_told(tmp_path_factory, value):
    path = lines(tmp_path_factory.getbasetemp() / "fuzz.jsonl", json.dumps(value))
    for read in (read_predictions, read_gold):
        told = ""
        try:
            assert set(read(path)) == {value["note_id"]}
        except InputError as error:
            told = str(error)
        assert "fuzz.jsonl" in told or not told
