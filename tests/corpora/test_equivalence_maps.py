"""ICD-10-CM to ICD-9-CM: the real tables where they are, and small tables of the same shape."""

import gzip

import pytest

from concept_icd.corpora.equivalence_maps import BACKWARD, BY_HAND, FORWARD, EquivalenceMaps
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology

HEAD = "icd10cm,icd9cm,flags,approximate,no_map,combination,scenario,choice_list\n"
BACK = "icd9cm,icd10cm,flags,approximate,no_map,combination,scenario,choice_list\n"


@pytest.fixture(scope="module")
def maps(shared_data):
    return EquivalenceMaps(shared_data / "icd9_maps")


@pytest.mark.parametrize(
    ("code", "way", "targets"),
    [
        ("b20", "equal", ["042"]),
        ("N39.0", "equal", ["599.0"]),
        ("e11.9", "approximate", ["250.00"]),
        ("r50.9", "approximate", ["780.60"]),
        (
            "i10",
            "alternatives",
            ["401.9"],
        ),  # not malignant, not benign: the last
        ("f10.10", "alternatives", ["305.00"]),  # "Alcohol abuse, unspecified" before "in remission", which is last
        ("j44.9", "alternatives", ["496"]),  # the last category, before 493.20 "..., unspecified"
        ("r69", "alternatives", ["799.9"]),  # not V41.9
        ("m81.0", "alternatives", ["733.01"]),  # equal by the map, 733.00 is approximate
        ("c78.7", "alternatives", ["197.7"]),  # by hand
        ("a41.9", "combination", ["038.9", "995.91"]),
        ("w19.xxx", "incomplete", ["E888.9"]),  # a fall, initial encounter
        ("c50.9", "incomplete, divided", ["174.9"]),  # of a woman, or of a man: 175.9
        ("e78.00", "newer", ["272.0"]),  # divides e78.0
        ("z3a.38", "none", []),
        ("z79.84", "unknown", []),
    ],
)
def test_known_codes(maps, code, way, targets):
    carried = maps.carry(code)
    assert (carried.way, list(carried.codes)) == (way, targets)
    assert not carried.codes or not carried.alternatives or set(carried.codes) <= set(carried.alternatives)
    assert carried.ambiguous == (way in ("alternatives", "incomplete, divided"))


def test_the_choices_by_hand_are_among_the_alternatives_and_each_is_needed(maps, monkeypatch):
    by_hand = {code: maps.carry(code) for code in BY_HAND}
    assert all(set(carried.codes) <= set(carried.alternatives) for carried in by_hand.values())
    monkeypatch.setattr("concept_icd.corpora.equivalence_maps.BY_HAND", {})
    assert all(maps.carry(code).codes != carried.codes for code, carried in by_hand.items())


def test_every_target_is_a_billable_code(maps):
    ontology = load_ontology("icd9cm")
    chapters = [chr(letter) + digit for letter in range(ord("A"), ord("Z") + 1) for digit in "0123456789"]
    targets = {code for start in chapters for code in maps.carry(start + "1").codes}
    assert len(targets) > 100
    assert all(ontology.billable(code) for code in targets)


def small(folder, forward="", backward="", zipped=False):
    """Tables of our own; I10 and its three targets are always there."""
    rows = "".join(f"I10,401{digit},10000,1,0,0,0,0\n" for digit in "019")
    texts = {FORWARD: HEAD + rows + forward, BACKWARD: BACK + "4011,I10,10000,1,0,0,0,0\n" + backward}
    for name, text in texts.items():
        path = folder / f"{name}.csv"
        path.write_text(text)
        if zipped:
            path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return EquivalenceMaps(folder)


@pytest.mark.parametrize("zipped", [False, True])
def test_the_map_back_decides_before_the_last_code(tmp_path, zipped):
    assert small(tmp_path, zipped=zipped).carry("i10").codes == ("401.1",)


def test_the_first_scenario_of_a_combination_and_one_choice_of_each_part(tmp_path):
    rows = "A403,0380,10111,1,0,1,1,1\nA403,0382,10111,1,0,1,1,1\nA403,99591,10112,1,0,1,1,2\nA403,0389,1,1,0,1,2,3\n"
    carried = small(tmp_path, rows, "0380,A403,10000,1,0,0,0,0\n").carry("A40.3")
    assert carried.codes == ("038.0", "995.91")
    assert carried.alternatives == ("038.0", "038.2", "038.9", "995.91")


def test_completions_vote_initial_encounters_alone(tmp_path):
    keys = {"S0590XA": "9219", "S0591XA": "8719", "S0592XA": "8719", "S0590XD": "V5889", "S0591XD": "V5889"}
    rows = "".join(f"{key},{target},10000,1,0,0,0,0\n" for key, target in (keys | {"S0592XD": "V5889"}).items())
    carried = small(tmp_path, rows).carry("s05.9")
    assert (carried.way, carried.codes) == ("incomplete, divided", ("871.9",))
    assert carried.alternatives == ("871.9", "921.9")


def test_bad_tables_get_one_sentence(tmp_path):
    with pytest.raises(InputError, match=f"lacks {FORWARD}.csv or"):
        EquivalenceMaps(tmp_path)
    small(tmp_path)
    (tmp_path / f"{BACKWARD}.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="it lacks the columns icd10cm, icd9cm"):
        EquivalenceMaps(tmp_path)
    (tmp_path / f"{BACKWARD}.csv").write_text(BACK + "4011,I10\n")
    with pytest.raises(InputError, match="line 2: the line ends early"):
        EquivalenceMaps(tmp_path)
    (tmp_path / f"{BACKWARD}.csv.gz").write_bytes(gzip.compress(BACK.encode())[:-9])
    with pytest.raises(InputError, match=r"cannot read .*csv.gz"):
        EquivalenceMaps(tmp_path)
