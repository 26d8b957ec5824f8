"""The mean over the adapters of a tuning run: as a scorer, through the store, and in a coder."""

import numpy as np
import pytest

from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring import averaged
from concept_icd.scoring.adapters import plan_scoring, score_corpus
from concept_icd.scoring.averaged import AveragedScorer
from concept_icd.scoring.scorer import NoteFailure
from concept_icd.scoring.selection import SelectionRule, TopDownSelection, ask_stored
from concept_icd.scoring.specs import ADAPTER, CONCEPTS, ScorerSpec
from concept_icd.scoring.store import load_scores
from tests.scoring.test_adapters import FOLD_OF, NEW, TRAIN, build_adapter, expected, tuned_folder

ADAPTERS = (ADAPTER, "fold-0", "fold-1")


@pytest.fixture(scope="module")
def tuned(llama, tmp_path_factory):
    return tuned_folder(tmp_path_factory.mktemp("averaged") / "tuned", llama, FOLD_OF, list(FOLD_OF))


@pytest.fixture
def scorer(tuned, llama) -> AveragedScorer:
    return ScorerSpec("packed", str(llama), str(tuned), PromptTemplate.load()).make()


def mean_of(tuned, llama, notes) -> np.ndarray:
    return np.mean([expected(tuned, llama, name, notes) for name in ADAPTERS], axis=0)


def test_new_notes_are_scored_by_the_mean_and_training_notes_by_the_adapter_of_their_fold(tuned, llama, tmp_path):
    score_corpus([*TRAIN, *NEW], tuned, tmp_path / "s", average=True)
    scores = load_scores(tmp_path / "s")
    found = scores.select([note.note_id for note in NEW]).logits
    np.testing.assert_allclose(found, mean_of(tuned, llama, NEW), atol=1e-4)
    assert np.abs(found - expected(tuned, llama, ADAPTER, NEW)).max() > 0.05
    own = [note for note in TRAIN if FOLD_OF[note.note_id] == "fold-1"]
    found = scores.select([note.note_id for note in own]).logits
    np.testing.assert_allclose(found, expected(tuned, llama, "fold-1", own), atol=1e-4)
    # By the final adapter alone is another setting.
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"other settings \(adapter, weights\)"):
        score_corpus([*TRAIN, *NEW], tuned, tmp_path / "s", average=False)


def test_more_notes_than_go_at_once_and_one_that_cannot_be_read(scorer, tuned, llama, monkeypatch):
    monkeypatch.setattr(averaged, "NOTES_AT_ONCE", 4)
    concepts = ConceptSet.load(tuned / CONCEPTS)
    found = list(scorer.iter_scores([*TRAIN, Note("empty", " ")], concepts.concepts))
    assert [one.note_id for one in found] == [*(note.note_id for note in TRAIN), "empty"]
    assert isinstance(found[-1], NoteFailure)
    np.testing.assert_allclose([one.logits for one in found[:-1]], mean_of(tuned, llama, TRAIN), atol=1e-4)
    assert found[0].computed == 3 * next(scorer.members[0].iter_scores(TRAIN[:1], concepts.concepts)).computed


def test_a_plan_is_told_the_means(scorer, tuned, llama):
    concepts = ConceptSet.load(tuned / CONCEPTS)
    means = mean_of(tuned, llama, TRAIN)
    ontology = load_ontology()
    levels, bars = np.array([concept.level for concept in concepts.concepts]), {}
    for level in ("chapter", "section", "category"):
        values = np.unique(means[:, levels == level])
        half = len(values) // 2
        bars[level] = float(values[half - 1 : half + 1].mean())  # between two scores: rounding must not decide
    plan = TopDownSelection.over(concepts, ontology, SelectionRule(bars, {}))
    notes = [*TRAIN, Note("empty", " ")]
    found = {one.note_id: one for one in scorer.iter_scores(notes, concepts.concepts, plan)}
    assert isinstance(found.pop("empty"), NoteFailure)
    was_asked = ask_stored(plan, TRAIN, means.astype(np.float32))
    assert 0 < was_asked.sum() < was_asked.size
    for row, note in enumerate(TRAIN):
        one = found[note.note_id]
        np.testing.assert_array_equal(one.asked, np.flatnonzero(was_asked[row]))
        np.testing.assert_allclose(one.logits, means[row][one.asked], atol=1e-4)


def test_a_coder_keeps_all_its_adapters(tuned, llama, fitted, tmp_path):
    concepts = ConceptSet.load(tuned / CONCEPTS)
    train = fitted.scores.select([coded.note.note_id for coded in fitted.train])
    coder = ConceptCoder.fit(train, fitted.train, concepts, model=llama, adapter=tuned)
    coder.save_pretrained(tmp_path / "coder")
    loaded = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert loaded.hash == coder.hash
    assert sorted(path.name for path in (tmp_path / "coder" / "adapter").iterdir()) == list(ADAPTERS)
    scores = loaded.scorer.score(NEW, loaded.asked).logits
    np.testing.assert_allclose(scores, mean_of(tuned, llama, NEW), atol=1e-4)
    assert loaded.code(NEW[0]) == coder.code(NEW[0])
    build_adapter(llama, tmp_path / "coder" / "adapter" / "fold-1", seed=9)
    with pytest.raises(InputError, match="damaged or exchanged"):
        ConceptCoder.from_pretrained(tmp_path / "coder").code(NEW[0])


def test_the_plan_of_a_scoring_counts_the_readings(tuned):
    scoring = plan_scoring([*TRAIN, *NEW], tuned, average=True)
    assert scoring.specs[ADAPTER].readings == 3
    assert scoring.specs["fold-0"].readings == 1
    assert scoring.adapters == 3
    assert plan_scoring(NEW, tuned).adapters == 1


def test_one_served_name_is_not_several_adapters(tuned, llama):
    spec = ScorerSpec("server", str(llama), str(tuned), PromptTemplate.load(), {"served": "tuned"})
    with pytest.raises(InputError, match="3 adapters are averaged, and 'tuned' is one"):
        spec.make()
