import json

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.readers.predictions import Gold, Predictions, read_gold, read_predictions
from concept_icd.report.alignment import align


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def entry(code, probability, **more):
    return {"code": code, "probability": probability, **more}


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
    assert found.label_set == (
        "the 3 codes that occur in the gold or in the predictions; "
        "3 of 6 pairs are not named by the predictions: probability 0"
    )


def test_how_far_to_read_comes_with_the_predictions(tmp_path):
    """Note a is read to 3 codes for 90 %; of note b no more than .6 is expected of what the file names."""
    codes = [entry("428.0", 0.6), entry("401.9", 0.3), entry("486", 0.1)]
    whole = {"note_id": "a", "codes": [c | {"expected_recall": r} for c, r in zip(codes, (0.5, 0.85, 1), strict=True)]}
    cut = {"note_id": "b", "codes": [codes[0] | {"expected_recall": 0.6}]}
    gold = Gold({"a": ("428.0",), "b": ("486",)})
    alone = align(read_predictions(lines(tmp_path / "one", whole)), Gold({"a": ("428.0",)})).depths
    assert {recall: depth.tolist() for recall, (depth, _) in alone.items()} == {
        0.5: [1],
        0.75: [2],
        0.8: [2],
        0.9: [3],
        0.95: [3],
    }
    assert alone[0.75][1].tolist() == [0.85]
    both = align(read_predictions(lines(tmp_path / "two", whole, cut)), gold).depths
    assert {recall: depth.tolist() for recall, (depth, _) in both.items()} == {0.5: [1, 1]}
    silent = {"note_id": "a", "codes": codes}
    assert align(read_predictions(lines(tmp_path / "three", silent)), Gold({"a": ("428.0",)})).depths is None


def test_a_named_label_set_says_what_it_leaves_out():
    gold = Gold({"a": ("401.9", "99.04")})
    predictions = Predictions(("a",), ("428.0", "V30.01"), np.array([[0.6, 1.0]], dtype=np.float32))
    found = align(predictions, gold, ("428.0", "99.04"))
    assert (found.codes, found.gold.tolist()) == (("428.0", "99.04"), [[False, True]])
    assert found.probabilities.tolist() == [[np.float32(0.6), 0]]
    assert found.label_set.startswith("2 codes named by the user; 1 gold and 1 predicted (note, code) pairs outside")
    assert found.outside == {"401.9", "V30.01"}
    assert (found.scores, found.decisions, found.patients) == (None, None, None)


def test_decisions_have_no_probabilities(tmp_path):
    predictions = Predictions(("a", "b"), ("428.0",), None, accepted=np.array([[True], [False]]))
    found = align(predictions, Gold({"b": ("428.0",), "a": ("401.9",)}))
    assert found.probabilities is None
    assert found.decisions.tolist() == [[False, False], [False, True]]
    assert "probability" not in found.label_set


def test_predictions_of_other_notes_of_the_corpus_are_left_out_by_themselves():
    predictions = Predictions(("t", "a"), ("428.0",), np.array([[0.1], [0.9]]))
    found = align(predictions, Gold({"a": ("428.0",)}, others=frozenset({"t", "u"})))
    assert (found.note_ids, found.probabilities.tolist()) == (("a",), [[0.9]])
    assert "predictions of 1 other notes of the corpus are left out" in found.label_set


def test_notes_of_one_side_only_are_counted_and_named():
    gold = Gold({f"g{n}": ("428.0",) for n in range(5)})
    predictions = Predictions(("g4",), (), np.zeros((1, 0)))
    with pytest.raises(InputError, match=r"4 of the 5 notes of the gold are not in the predictions: 'g0', 'g1', 'g2'"):
        align(predictions, gold)
    with pytest.raises(InputError, match="1 of the 1 notes of the predictions"):
        align(predictions, Gold({}))
    common = align(predictions, gold, only_common=True)
    assert common.note_ids == ("g4",)
    assert "left out: 4 gold notes without predictions, 0 without gold" in common.label_set
    with pytest.raises(InputError, match="no note is in both"):
        align(predictions, Gold({"other": ()}), only_common=True)
