"""The descent over a real part of the tree: what is asked, on stored scores and by real models; and its fitting."""

import itertools
import json

import numpy as np
import pytest

from concept_icd.cli.main import main
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.corpora.store import save_corpus
from concept_icd.errors import InputError
from concept_icd.heads.selection_fitting import cross_validate, fit_selection, gold_rows
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.selection import SelectionRule, TopDownSelection, ask_stored, planned_scores, tree_of
from concept_icd.scoring.serialization import questions_from_json, questions_to_json
from concept_icd.scoring.store import Job, fill_store

CODES = ("250.00", "250.02", "401.9", "428", "428.0", "428.9", "486", "493.90", "36.01", "38.93")
RULE = SelectionRule({"chapter": 0.0, "section": 0.0, "category": 1.0}, {"chapter": -1.0, "code": -5.0})
NOTE = Note("n", "cough")


@pytest.fixture(scope="module")
def concepts() -> ConceptSet:
    phrases = {"428.0": ["wet lungs"], "486": ["wet lungs", "lung infection"], "250": ["sugar disease"]}
    return ConceptSet.expand(CODES, load_ontology(), phrases=phrases)


def keys(concepts: ConceptSet, rows) -> set[str]:
    return {concepts.concepts[row].key for row in rows}


def below(concepts: ConceptSet, key: str) -> set[str]:
    tree, _ = tree_of(concepts, load_ontology())
    row = concepts.index(key)
    return keys(concepts, tree.indices[tree.indptr[row] : tree.indptr[row + 1]])


def test_the_tree_of_a_set_is_the_tables_with_the_gaps_closed(concepts):
    _, first = tree_of(concepts, load_ontology())
    assert {key.split(":")[0] for key in keys(concepts, first)} == {"chapter"}
    # A label that is an inner node is what others hang under; a phrase hangs where its codes do.
    assert below(concepts, "code:428") == {"code:428.0", "code:428.9", "phrase:wet lung"}
    assert "phrase:wet lung" in below(concepts, "section:480-488")
    assert below(concepts, "category:250") == {"subcategory:250.0"}
    assert "phrase:sugar disease" in below(concepts, "subcategory:250.0")
    # A retired code hangs under its nearest ancestor that is left.
    assert below(concepts, "category:36") == {"code:36.01"}


def test_without_inner_levels_codes_are_asked_in_round_one():
    flat = ConceptSet.expand(CODES, load_ontology(), levels=["code", "category"])
    tree, first = tree_of(flat, load_ontology())
    assert {"category:250", "code:428"} <= keys(flat, first)
    assert tree.nnz + len(first) == len(flat)


def test_every_concept_can_be_reached(concepts):
    tree, first = tree_of(concepts, load_ontology())
    assert set(first) | set(tree.indices) == set(range(len(concepts)))
    all_of_icd9 = ConceptSet.expand(load_ontology().codes(), load_ontology())
    tree, first = tree_of(all_of_icd9, load_ontology())
    assert len(all_of_icd9) > 22_000
    assert np.array_equal(np.sort(np.concatenate([first, tree.indices])), np.arange(len(all_of_icd9)))


def test_only_the_children_of_what_clears_its_bar_are_asked(concepts):
    plan = TopDownSelection.over(concepts, load_ontology(), RULE)
    answers = dict.fromkeys(keys(concepts, range(len(concepts))), -2.0)
    answers |= {"chapter:390-459": 0.1, "section:420-429": 0.0, "code:428": 5.0, "section:401-405": 3.0}
    rounds = plan.rounds(NOTE)
    asked, rows = [], next(rounds)
    try:
        while True:
            asked.append(keys(concepts, rows))
            rows = rounds.send(np.array([answers[concepts.concepts[row].key] for row in rows], dtype=np.float32))
    except StopIteration:
        pass
    assert len(asked) == 4
    assert asked[1] == {"section:401-405", "section:420-429"}
    assert "code:428" in asked[2]
    assert asked[3] == {"code:428.0", "code:428.9", "phrase:wet lung"}
    assert not any("486" in key or "250" in key for key in set().union(*asked))
    assert sum(map(len, asked)) == len(set().union(*asked)), "nothing is asked twice"


def test_a_budget_is_spent_on_the_most_promising_and_never_overdrawn(concepts):
    logits = np.random.default_rng(0).normal(size=(200, len(concepts))).astype(np.float32)
    notes = [NOTE] * 200
    counts = {}
    for budget in (8, 15, 25, len(concepts)):
        rule = SelectionRule({"chapter": 0.0}, {}, budget=budget)
        asked = ask_stored(TopDownSelection.over(concepts, load_ontology(), rule), notes, logits)
        counts[budget] = asked.sum(axis=1)
        assert counts[budget].max() <= budget
    assert (counts[len(concepts)] == len(concepts)).all()
    assert counts[15].mean() > counts[8].mean()
    # The best chapter is opened before the others.
    _, first = tree_of(concepts, load_ontology())
    plan = TopDownSelection.over(concepts, load_ontology(), SelectionRule({"chapter": 0.0}, {}, budget=len(first) + 2))
    best = concepts.index("chapter:460-519")
    answers = np.where(np.arange(len(concepts)) == best, -1.0, -3.0).astype(np.float32)
    [asked] = ask_stored(plan, [NOTE], answers[None])
    assert keys(concepts, np.flatnonzero(asked)) - keys(concepts, first) == {"section:480-488", "section:490-496"}


def test_levels_without_a_bar_have_that_of_the_next_wider_one(concepts):
    plan = TopDownSelection.over(concepts, load_ontology(), RULE)
    bar = {concept.level: float(plan.bars[row]) for row, concept in enumerate(concepts.concepts)}
    fill = {concept.level: float(plan.fill[row]) for row, concept in enumerate(concepts.concepts)}
    assert bar == {"chapter": 0, "section": 0, "category": 1, "subcategory": 1, "code": 1, "phrase": 1}
    assert fill == {"chapter": -1, "section": -1, "category": -1, "subcategory": -1, "code": -5, "phrase": -5}


def test_a_plan_travels_and_its_hash_tells_rules_and_sets_apart(concepts):
    plan = TopDownSelection.over(concepts, load_ontology(), RULE)
    asked, again = questions_from_json(questions_to_json(concepts.concepts, plan))
    assert asked == concepts.concepts
    assert again.hash == plan.hash
    assert again.rounds(NOTE).__next__().tolist() == plan.first.tolist()
    others = [
        TopDownSelection.over(concepts, load_ontology(), SelectionRule({**RULE.bars, "chapter": 0.5}, RULE.fill)),
        TopDownSelection.over(concepts, load_ontology(), SelectionRule(RULE.bars, {**RULE.fill, "code": 0.0})),
        TopDownSelection.over(concepts, load_ontology(), SelectionRule(RULE.bars, RULE.fill, budget=20)),
        TopDownSelection.over(ConceptSet.expand(CODES[:-1], load_ontology()), load_ontology(), RULE),
    ]
    assert len({plan.hash, *(other.hash for other in others)}) == 5


def test_a_rule_is_a_small_file_and_a_damaged_one_says_so(tmp_path):
    RULE.save(tmp_path / "descent.json")
    assert SelectionRule.load(tmp_path / "descent.json") == RULE
    for change in ({"format": 0}, {"bars": {"chapters": 0.0}}, {"price": "much"}, {"more": 1}):
        record = json.loads((tmp_path / "descent.json").read_text()) | change
        (tmp_path / "other.json").write_text(json.dumps(record))
        with pytest.raises(InputError, match="fit-selection"):
            SelectionRule.load(tmp_path / "other.json")


@pytest.mark.parametrize("budget", [None, 24])
def test_a_real_model_asks_what_the_stored_scores_say(concepts, llama, llama_adapter, budget):
    scorer = PackedScorer.from_pretrained(llama, llama_adapter)
    notes = [Note(str(n), text * (n + 1)) for n, text in enumerate(["cough and fever. ", "renal pain ", "no history "])]
    every = scorer.score(notes, concepts)
    rule = SelectionRule({"chapter": float(np.median(every.logits))}, {"chapter": -9.0}, budget=budget)
    plan = TopDownSelection.over(concepts, load_ontology(), rule)
    asked = ask_stored(plan, notes, every.logits)
    found = planned_scores(scorer, notes, concepts, plan)
    assert 0.1 < asked.mean() < 0.9
    np.testing.assert_array_equal(found.logits == -9.0, ~asked)
    np.testing.assert_allclose(found.logits[asked], every.logits[asked], atol=1e-4)


# Fitting ----------------------------------------------------------------------------------------------------------


def world(concepts: ConceptSet, notes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know the gold codes, with noise."""
    rng = np.random.default_rng(seed)
    gold = rng.random((notes, len(concepts.codes))) < 0.15
    truth = (gold @ concepts.cover.toarray().T) > 0
    return (rng.normal(size=truth.shape) + np.where(truth, 1.5, -1.5)).astype(np.float32), gold


def figures(rule: SelectionRule, logits: np.ndarray, gold: np.ndarray, concepts: ConceptSet) -> tuple[float, float]:
    asked = ask_stored(TopDownSelection.over(concepts, load_ontology(), rule), [NOTE] * len(logits), logits)
    wanted = gold_rows(gold, concepts)
    return (asked & wanted).sum() / wanted.sum(), asked.sum(axis=1).mean()


@pytest.mark.parametrize("keep", [1.0, 0.98, 0.9, 0.5])
def test_the_stated_share_of_gold_paths_is_kept_for_fewer_questions(concepts, keep):
    logits, gold = world(concepts, 300)
    kept, questions = figures(fit_selection(logits, gold, concepts, load_ontology(), keep=keep), logits, gold, concepts)
    assert keep <= kept < keep + 0.02
    assert questions < len(concepts)
    unseen = world(concepts, 300, seed=1)
    assert (
        figures(fit_selection(logits, gold, concepts, load_ontology(), keep=keep), *unseen, concepts)[0] > keep - 0.05
    )


def test_the_greedy_bars_are_near_the_best_of_a_grid(concepts):
    logits, gold = world(concepts, 60)
    found = fit_selection(logits, gold, concepts, load_ontology(), keep=0.9)
    _, questions = figures(found, logits, gold, concepts)
    levels, best = ("chapter", "section", "category"), np.inf
    for bars in itertools.product((-2.0, -1.0, -0.5, 0.0, 0.5), repeat=3):
        rule = SelectionRule(dict(zip(levels, bars, strict=True)), {})
        kept, asked = figures(rule, logits, gold, concepts)
        best = min(best, asked if kept >= 0.9 else np.inf)
    assert questions <= best * 1.02


def test_a_budget_keeps_more_than_bars_that_ask_as_much(concepts):
    logits, gold = world(concepts, 300)
    rule = fit_selection(logits, gold, concepts, load_ontology(), keep=None, budget=20)
    kept, questions = figures(rule, logits, gold, concepts)
    assert questions <= 20
    assert kept > 0.4


def test_figures_are_of_notes_that_the_bars_did_not_see(concepts):
    logits, gold = world(concepts, 60)
    patients = [str(n // 2) for n in range(60)]
    seen = figures(fit_selection(logits, gold, concepts, load_ontology(), keep=0.9), logits, gold, concepts)
    found = cross_validate(logits, gold, concepts, load_ontology(), patients, keep=0.9)
    fold, kept = group_folds(patients, 5, 0), 0.0
    for number in range(5):
        rule = fit_selection(logits[fold != number], gold[fold != number], concepts, load_ontology(), keep=0.9)
        out = fold == number
        kept += figures(rule, logits[out], gold[out], concepts)[0] * gold[out].sum()
    assert found["kept"] == pytest.approx(kept / gold.sum())
    assert found["kept"] != pytest.approx(seen[0])
    assert (found["folds"], found["gold_paths"]) == (5, gold.sum())


def test_what_cannot_be_fitted_says_so(concepts):
    logits, gold = world(concepts, 20)
    for options, sentence in [
        ({"keep": 1.2}, "above 0 and at most 1"),
        ({"keep": 0.9, "budget": 5}, "one of the two"),
        ({"keep": None, "budget": 2}, "less than the"),
    ]:
        with pytest.raises(InputError, match=sentence):
            fit_selection(logits, gold, concepts, load_ontology(), **options)
    with pytest.raises(InputError, match="no path to keep"):
        fit_selection(logits, np.zeros_like(gold), concepts, load_ontology())


# From the command line --------------------------------------------------------------------------------------------


def test_from_scores_of_all_concepts_to_a_coder_that_descends(fitted, tmp_path, capsys):
    """Fit a descent, score with it, fit a coder on these scores, code: the same questions as in the scores."""
    corpus, scores = tmp_path / "corpus", tmp_path / "scores"
    coded = fitted.train
    save_corpus(corpus, coded, seed=0, config={})
    coder = fitted.coder
    settings = {"out_of_fold": True, "model": str(coder.model.name), "adapter": str(coder.model.adapter), "weights": {}}
    job = Job("adapter", [note.note for note in coded], lambda: coder.scorer)
    fill_store(scores, [job], coder.concepts, coder.prompt, settings=settings)
    rule = tmp_path / "descent.json"
    command = ["fit-selection", "--corpus", str(corpus), "--scores", str(scores), "--out", str(rule), "--budget", "12"]
    assert main(command) == 0
    assert "questions a note" in capsys.readouterr().out
    plan = TopDownSelection.over(coder.concepts, load_ontology(), SelectionRule.load(rule))
    descended = tmp_path / "descended"
    fill_store(descended, [job], coder.concepts, coder.prompt, settings=settings, plan=plan)
    SelectionRule.load(rule).save(descended / "descent.json")
    folder = tmp_path / "coder"
    command = ["fit", "--corpus", str(corpus), "--scores", str(descended), "--out", str(folder)]
    assert main([*command, "--split", "train"]) == 0
    again = ConceptCoder.from_pretrained(folder)
    assert again.selection is not None
    expected = planned_scores(again.scorer, [coded[0].note], again.concepts, plan)
    [by_hand] = again.results(expected, notes=[coded[0].note])
    assert again.code(coded[0].note).to_dict() == by_hand.to_dict()
    assert main([*command[:-1], str(tmp_path / "x"), "--split", "train"]) == 0
    SelectionRule({"chapter": 0.0}, {}).save(descended / "descent.json")
    assert main([*command[:-1], str(tmp_path / "y"), "--split", "train"]) == 2
    assert "is not the selection that" in capsys.readouterr().err
    command = ["fit-selection", "--corpus", str(corpus), "--scores", str(descended), "--out", str(rule)]
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 2
    assert "asked every concept" in capsys.readouterr().err


def test_a_coder_says_that_it_ranks_its_own_codes_alone(fitted):
    wider = ConceptSet.expand((*fitted.coder.concepts.codes, "428.0"), load_ontology())
    scores = fitted.coder.scorer.score([NOTE], wider)
    with pytest.raises(InputError, match="ranks its own 6 codes and no others"):
        fitted.coder.predict_proba(scores)


def test_gold_of_labels_with_one_meaning_is_one_concept():
    alias = ConceptSet.expand(("66.", "66.0"), load_ontology(), aliases={"66.": "66.0"})
    assert gold_rows(np.array([[True, False], [False, True]]), alias).sum(axis=1).tolist() == [1, 1]
    assert gold_matrix([], [], alias.codes)[0].shape == (0, 2)
