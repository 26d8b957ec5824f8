import numpy as np
import pytest

from concept_icd.corpora.gold import gold_matrix, gold_places
from concept_icd.errors import InputError
from concept_icd.records import CodedNote, Note

CODES = ("038.9", "401.9", "428.0", "38.93", "99.04")
NOTES = [
    CodedNote(Note("a", "text"), ("428.0", "038.9"), ("99.04", "38.93")),
    CodedNote(Note("b", "text"), ("V30.01", "401.9", "428.0"), ("38.93",)),  # the set lacks the principal diagnosis
    CodedNote(Note("c", "text"), ("401.9",), principal="486"),  # so did the set that the corpus was prepared for
    CodedNote(Note("d", "text"), (), ("38.93",)),
    CodedNote(Note("e", "text"), ("401.9", "428.0", "401.9")),
]


def test_places_count_the_codes_of_the_set_in_billing_order():
    places, principal = gold_places(["b", "a", "c", "d", "e"], NOTES, CODES)
    assert places.tolist() == [[0, 1, 2, 1, 0], [2, 0, 1, 2, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 1, 2, 0, 0]]
    assert principal.tolist() == [-1, 2, -1, -1, 1]
    assert np.array_equal(places > 0, gold_matrix(["b", "a", "c", "d", "e"], NOTES, CODES)[0])


def test_a_note_outside_the_corpus_is_told():
    with pytest.raises(InputError, match="'x' is not in the corpus"):
        gold_places(["x"], NOTES, CODES)
