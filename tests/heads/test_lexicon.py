"""Mentions of codes: by hand, learnt from notes, from notes of other folds alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.errors import InputError
from concept_icd.heads.lexicon import FEATURES, Lexicon
from concept_icd.heads.lexicon_fitting import learn_features, naming
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology

NOTE = """CHIEF COMPLAINT: Cough.
HISTORY OF PRESENT ILLNESS: She was well. Gout for years. Then pneumonia was the reason to come.
PAST MEDICAL HISTORY: Gout.
HOSPITAL COURSE: Pneumonia settled. No gout was seen.
DISCHARGE DIAGNOSES: Pneumonia; gout.
"""


def lexicon(around: list[list[float]] | None = None) -> Lexicon:
    """Code 0 is pneumonia, code 1 gout, code 2 asthma."""
    terms = ("pneumonia", "gout", "asthma", "reason")
    weights = np.zeros((4, 4)) if around is None else np.array(around)
    return Lexicon(terms, csr_array(np.vstack([np.eye(3), np.zeros((1, 3))]).astype(np.float32)), weights)


def seen(found: Lexicon, note: str) -> dict[int, dict[str, float]]:
    table = found.features([note])
    return {
        int(key): dict(zip(FEATURES, row.tolist(), strict=True))
        for key, row in zip(table.keys, table.values, strict=True)
    }


def test_features_by_hand():
    found = seen(lexicon(), NOTE)
    assert set(found) == {0, 1}  # asthma is not mentioned
    pneumonia, gout = found[0], found[1]
    assert pneumonia["mentions"] == pytest.approx(np.log(1 + 3))
    assert gout["mentions"] == pytest.approx(np.log(1 + 3))  # the denial is none
    assert pneumonia["first"] == pytest.approx(1 - NOTE.index("Then pneumonia") / len(NOTE))
    assert gout["first"] == pytest.approx(1 - NOTE.index("Gout for years") / len(NOTE))
    sections = ("complaint", "present", "course", "discharge", "past", "drugs")
    assert [pneumonia[f"in_{name}"] for name in sections] == [0, 1, 1, 1, 0, 0]
    assert [gout[f"in_{name}"] for name in sections] == [0, 1, 0, 1, 1, 0]
    assert (gout["first_in_present"], pneumonia["first_in_present"]) == pytest.approx((2 / 3, 1 / 3))
    assert (pneumonia["first_in_course"], gout["first_in_course"]) == (1, 0)
    assert (pneumonia["discharge_place"], gout["discharge_place"]) == (1, 0.5)
    assert (gout["before_others"], pneumonia["before_others"]) == (1, 0.5)
    assert pneumonia["around"] == gout["around"] == 0


def test_words_around_count_in_the_sentence_and_in_the_next():
    """Of "reason": -1 to the place and 2 to being first in the sentence itself; 10 and 20 in the one after."""
    found = seen(lexicon([[0] * 4] * 3 + [[-1.0, 2.0, 10.0, 20.0]]), NOTE)
    assert (found[0]["around"], found[0]["around_first"]) == (-1, 2)
    assert (found[1]["around"], found[1]["around_first"]) == (10, 20)


def test_notes_without_text_or_mentions_have_no_features():
    table = lexicon().features(["", "Nothing to see.", NOTE])
    assert sorted(set((table.keys // 3).tolist())) == [2]
    assert table.shape == (3, 3)
    assert lexicon().features([]).shape == (0, 3)
    assert lexicon().features(["", " "]).keys.size == 0


def test_batches_change_nothing(monkeypatch):
    notes = [NOTE, "Asthma.", "", NOTE]
    whole = lexicon().features(notes)
    monkeypatch.setattr("concept_icd.heads.lexicon.BLOCK", 2)
    parts = lexicon().features(notes)
    assert (parts.keys == whole.keys).all()
    assert (parts.values == whole.values).all()


def stays(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Two codes; the one that is called the reason is billed first, and one has a name that no title has."""
    rng = np.random.default_rng(seed)
    texts, places = [], []
    for _ in range(count):
        there = rng.random(2) < 0.7
        first = int(rng.random() < 0.5)
        names = ["a bad lung", "podagra"]
        told = [
            f"{names[c].capitalize()} was {'why' if c == first else 'also'} treated."
            for c in rng.permutation(2)
            if there[c]
        ]
        texts.append("HOSPITAL COURSE: " + " ".join([*told, "Fever was why treated.", "Cough was also treated."]))
        place = np.zeros(2, dtype=int)
        place[there] = np.argsort(np.argsort(np.arange(2)[there] != first)) + 1
        places.append(place)
    return texts, np.array(places)


def test_names_and_words_around_are_learnt_from_notes():
    texts, places = stays(200, 0)
    fold = np.arange(200) % 4
    learnt, held_out = learn_features(texts, places, {0: ["Pneumonia"], 1: ["Gout"]}, np.zeros(2, dtype=bool), fold)
    terms = {c: {learnt.terms[t] for t in learnt.mentions[:, [c]].nonzero()[0]} for c in (0, 1)}
    assert terms[1] >= {"podagra", "gout"}
    assert terms[0] >= {"lung", "pneumonia"}
    assert "lung" not in terms[1]
    note, code = np.nonzero(places)
    told = held_out.of(note, code)
    assert (told[:, 0] == 1).all()
    both = (places > 0).all(axis=1)[note]
    around = told[both, list(FEATURES).index("around")]
    first = places[note, code][both] == 1
    assert around[first].max() < around[~first].min()


def test_features_of_a_note_come_from_lexicons_of_other_folds():
    """A word that one fold alone has is no term in its own features, only in the final lexicon."""
    texts, places = stays(100, 1)
    fold = np.arange(100) % 4
    texts = [text.replace("odagra", "dagra") if f == 0 else text for text, f in zip(texts, fold, strict=True)]
    learnt, held_out = learn_features(texts, places, {}, np.zeros(2, dtype=bool), fold)
    assert "pdagra" in learnt.terms
    own = np.flatnonzero((fold == 0) & (places[:, 1] > 0))
    others = np.flatnonzero((fold != 0) & (places[:, 1] > 0))
    assert held_out.of(others, np.ones_like(others))[:, 0].all()
    assert not held_out.of(own, np.ones_like(own))[:, 0].any()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    texts, places = stays(100, 2)
    learnt, _ = learn_features(texts, places, {0: ["Pneumonia"]}, np.zeros(2, dtype=bool), np.arange(100) % 3)
    learnt.save(tmp_path / "lexicon.json")
    again = Lexicon.load(tmp_path / "lexicon.json")
    assert again.hash == learnt.hash
    assert (again.features(texts).values == learnt.features(texts).values).all()
    (tmp_path / "lexicon.json").write_text('{"terms": 3}')
    with pytest.raises(InputError, match="cut in another way: fit the coder again"):
        Lexicon.load(tmp_path / "lexicon.json")
    (tmp_path / "lexicon.json").write_text('{"format": 2, "terms": 3}')
    with pytest.raises(InputError, match="is no lexicon"):
        Lexicon.load(tmp_path / "lexicon.json")


def test_codes_are_named_by_their_own_concepts_and_phrases_of_few():
    concepts = ConceptSet.expand(["486", "274.9"], load_ontology(), phrases={"486": ["lung infiltrate"]})
    titles = naming(concepts)
    assert any("neumonia" in text for text in titles[0])
    assert "lung infiltrate" in titles[0]
    assert not any("respiratory" in text.lower() for text in titles[0])  # its chapter
