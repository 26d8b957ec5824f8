"""The generator: the same bytes for a seed, sound codes, varied words, decoys that are not coded."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, replace

import pytest

from concept_icd.corpora import synthetic_codes, synthetic_notes
from concept_icd.corpora.synthetic.cases import draw_case, draw_patient
from concept_icd.corpora.synthetic.knowledge import knowledge
from concept_icd.corpora.synthetic.language import Dice, Template
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology


@pytest.fixture(scope="module")
def notes():
    return synthetic_notes(1500, seed=1)


def test_a_seed_gives_the_same_bytes_everywhere():
    notes = [asdict(note) for note in synthetic_notes(40, seed=7)]
    assert not any(note.pop("evidence") for note in notes)  # invented notes have none
    data = json.dumps(notes, sort_keys=True).encode()
    assert hashlib.sha256(data).hexdigest() == "3f8a567042fe10f7485efa0131ad62b8510deade0ea200068384e3a898514954"


def test_a_longer_run_begins_with_a_shorter_one_and_seeds_differ():
    assert synthetic_notes(30, seed=2)[:12] == synthetic_notes(12, seed=2)
    assert {note.note.text for note in synthetic_notes(30, seed=2)}.isdisjoint(
        note.note.text for note in synthetic_notes(30, seed=3)
    )


def test_every_note_says_that_it_is_synthetic_and_its_ids_are_unique(notes):
    assert all(note.note.text.startswith("SYNTHETIC NOTE. ") for note in notes)
    assert len({note.note.note_id for note in notes}) == len(notes) == len({note.note.text for note in notes})
    assert not [note.note.note_id for note in notes if set("{}<>|") & set(note.note.text.replace(">100,000", ""))]


def test_every_code_is_billable_and_occurs(notes):
    ontology = load_ontology()
    assert all(ontology.billable(code) for code in synthetic_codes())
    assert {code for note in notes for code in note.codes} == set(synthetic_codes())
    assert all(ontology.kind(code) == "procedure" for note in notes for code in note.procedures)
    assert all(ontology.kind(code) == "diagnosis" for note in notes for code in note.diagnoses)
    kinds = Counter(code[0] for code in synthetic_codes())
    assert len(synthetic_codes()) >= 50
    assert kinds["V"] >= 3
    assert kinds["E"] >= 2


def test_each_code_has_five_phrasings_in_two_parts_of_the_note():
    table = knowledge()
    for code in synthetic_codes():
        entity = table.entity(code)
        lines = {part: spoken for part, spoken in entity.lines.items() if spoken and part not in ("denied", "withheld")}
        assert len(entity.names) + sum(map(len, lines.values())) >= 5, code
        assert len(lines) + 1 >= 2, code  # names stand in lists of diagnoses or procedures


def test_notes_have_few_codes_without_repeats_and_a_moderate_length(notes):
    sizes = Counter(len(note.codes) for note in notes)
    assert sum(sizes[size] for size in range(3, 10)) >= 0.99 * len(notes)
    assert all(len(set(note.codes)) == len(note.codes) for note in notes)
    words = sorted(len(note.note.text.split()) for note in notes)
    assert words[0] > 100
    assert 200 < words[len(words) // 2] < 300
    assert words[-1] < 600


def test_longer_notes_keep_their_codes():
    short, long = synthetic_notes(20, seed=4), synthetic_notes(20, seed=4, min_words=1500)
    assert all(1500 <= len(note.note.text.split()) < 1600 for note in long)
    assert short[0].codes == long[0].codes  # later notes draw from dice that the longer text has used


def test_splits_keep_patients_together_and_hold_their_shares(notes):
    splits = defaultdict(set)
    for note in notes:
        splits[note.note.patient_id].add(note.split)
    assert all(len(found) == 1 for found in splits.values())
    shares = Counter(next(iter(found)) for found in splits.values())
    assert shares["train"] / len(splits) == pytest.approx(0.7, abs=0.01)
    assert shares["dev"] / len(splits) == pytest.approx(0.1, abs=0.01)


def test_some_patients_come_back_with_what_stays(notes):
    admissions = defaultdict(list)
    for note in notes:
        admissions[note.note.patient_id].append(note)
    again = [found for found in admissions.values() if len(found) > 1]
    assert 0.15 < len(again) / len(admissions) < 0.35
    assert all(len({note.note.sex for note in found}) == 1 for found in again)
    assert all(0 <= found[1].note.age - found[0].note.age <= 1 for found in again)
    kept = [found for found in again if "250.00" in found[0].codes]
    assert sum("250.00" in found[1].codes for found in kept) > 0.6 * len(kept)


def test_age_sex_and_drugs_fit(notes):
    table = knowledge()
    for note in notes:
        assert all(table.entity(code).fits(int(note.note.age), note.note.sex) for code in note.codes)
        assert all(drug in note.note.text.lower() for drug in note.note.drugs)
        woman = note.note.sex == "F"
        words = set(note.note.text.lower().replace(".", " ").replace(",", " ").split())
        assert not words & ({"he", "him", "his"} if woman else {"she", "her"})


def test_billing_order_follows_the_rules(notes):
    table = knowledge()
    for note in notes:
        principal, *others = note.diagnoses
        assert table.diagnoses[principal].principal
        groups = [2 if table.diagnoses[code].cause else 1 if table.diagnoses[code].status else 0 for code in others]
        assert groups == sorted(groups)
        for code, after in (("995.92", "038.9"), ("585.9", "403.90")):
            if code in note.diagnoses and after in note.diagnoses:
                assert note.diagnoses.index(code) == note.diagnoses.index(after) + 1


def test_the_same_code_is_principal_here_and_secondary_there(notes):
    places = defaultdict(set)
    for note in notes:
        for place, code in enumerate(note.diagnoses):
            places[code].add(min(place, 1))
    assert {"486", "428.0", "584.9", "518.81", "599.0"} <= {code for code, found in places.items() if len(found) == 2}


def test_decoys_are_never_coded_and_do_stand_in_notes():
    table, kinds = knowledge(), Counter()
    for number in range(300):
        dice = Dice(f"decoys {number}")
        patient = draw_patient(dice)
        case = draw_case(patient, dice, table)
        coded = {*case.diagnoses, *case.procedures}
        for kind in ("absent", "ruled_out", "remote", "denied"):
            decoys = getattr(case, kind)
            assert not coded & set(decoys), kind
            kinds[kind] += bool(decoys)
        kinds["family"] += bool(case.family)
        assert set(case.major) <= set(case.diagnoses[1:])
    assert all(kinds[kind] > 60 for kind in ("absent", "ruled_out", "remote", "denied", "family"))


def test_a_denied_condition_is_named_in_the_note_but_not_coded(notes):
    words = ("No evidence of pneumonia", "no evidence of pneumonia", "There were no signs of pneumonia")
    denied = [note for note in notes if any(word in note.note.text for word in words)]
    assert denied
    assert not [note for note in denied if "486" in note.codes]


def test_templates():
    dice = Dice("a")
    template = Template.parse("<low|high> {1..3} of {x}, {0.5..0.7}")
    found = {template.fill(dice, {"x": "y"}) for _ in range(400)}
    assert found == {f"{a} {b} of y, {c}" for a in ("low", "high") for b in (1, 2, 3) for c in (0.5, 0.6, 0.7)}
    with pytest.raises(KeyError):
        template.fill(dice, {})


def test_every_template_fills():
    table, dice = knowledge(), Dice("b")
    slots = dict.fromkeys(("he", "him", "his", "man", "He", "His", "age", "side", "name", "complaint", "others"), "w")
    templates = [t for frames in table.frames.values() for t in frames]
    templates += [t for code in table.codes for part in table.entity(code).lines.values() for t in part]
    templates += [t for code in table.codes for t in table.entity(code).names]
    assert all(template.fill(dice, slots).strip() for template in templates)


def test_drawing_does_not_change_a_case_that_was_drawn():
    dice = Dice("c")
    patient = draw_patient(dice)
    first = draw_case(patient, dice, knowledge())
    before = replace(first.patient, chronic=list(first.patient.chronic))
    patient.age += 1
    draw_case(patient, dice, knowledge())
    assert first.patient == before


def test_a_number_below_zero_is_refused():
    with pytest.raises(InputError, match="below zero"):
        synthetic_notes(-1)
