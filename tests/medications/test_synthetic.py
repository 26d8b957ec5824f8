"""Generated stays: the drugs obey the rule, and who reads them knows more than frequencies at every level."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.errors import InputError
from concept_icd.medications.study.run import monte_carlo_folds
from concept_icd.medications.synthetic import CODES, INGREDIENTS, DrugRule, drug_rule, synthetic_stays
from concept_icd.medications.targets import TREE_LEVELS
from concept_icd.metrics.ranking import ranking_metrics
from concept_icd.ontology.tree import load_ontology


def drug_probabilities(rule: DrugRule, billed: csr_array) -> np.ndarray:
    """P(ingredient | codes), (stays, ingredients), of 0/1 (stays, codes), where drugs are on record."""
    kept = rule.given.copy()
    kept.data = np.log1p(-kept.data)
    return -np.expm1(np.log1p(-rule.background) + np.asarray((billed @ kept).todense()))


@pytest.fixture(scope="module")
def made():
    return synthetic_stays(4000, seed=1)


def test_the_same_seed_gives_the_same_stays_and_another_others():
    first, again, other = synthetic_stays(50, 7), synthetic_stays(50, 7), synthetic_stays(50, 8)
    assert np.array_equal(first.stays.inputs.toarray(), again.stays.inputs.toarray())
    assert np.array_equal(first.billed.toarray(), again.billed.toarray())
    assert not np.array_equal(first.billed.toarray(), other.billed.toarray())
    assert synthetic_stays(1).stays.inputs.shape == (1, INGREDIENTS + 2)
    with pytest.raises(InputError, match="0 generated stays"):
        synthetic_stays(0)


def test_codes_are_billable_with_a_long_tail_5_to_20_a_stay(made):
    ontology = load_ontology()
    assert len(made.rule.codes) == CODES
    assert all(ontology.billable(code) for code in made.rule.codes)
    sizes = np.diff(made.billed.indptr)
    assert sizes.min() == 5
    assert 18 <= sizes.max() <= 20
    often = np.sort(np.asarray(made.billed.sum(axis=0)).ravel())[::-1]
    assert often[0] > 0.2 * 4000
    assert np.median(often) <= 5
    assert {"chapter": 19}.items() <= {level: made.targets.levels.count(level) for level in TREE_LEVELS}.items()


def test_targets_are_the_billed_codes_rolled_up(made):
    ontology = load_ontology()
    row = 17
    codes = [made.rule.codes[column] for column in made.billed[[row]].indices]
    expected = {node for code in codes for node in ontology.path(code)}
    assert {made.targets.nodes[column] for column in made.targets.gold[[row]].indices} == expected


def test_drugs_obey_the_rule(made):
    """Of pairs that the rule gives a probability, that share is given (3.5 standard errors)."""
    drugs = made.stays.inputs[:, :INGREDIENTS].toarray() > 0
    recorded = drugs.any(axis=1)
    assert 0.07 < 1 - recorded.mean() < 0.13
    probability = drug_probabilities(made.rule, made.billed)[recorded]
    drugs = drugs[recorded]
    assert not drugs[probability == 0].any()
    for low in (0.05, 0.2, 0.4, 0.6, 0.8, 0.9):
        chosen = (probability >= low) & (probability < low + 0.1)
        share, n = drugs[chosen].mean(), chosen.sum()
        assert n > 1000
        assert abs(share - probability[chosen].mean()) < 3.5 * np.sqrt(0.25 / n)


def test_the_rule_by_hand():
    rule = drug_rule()
    stay = np.zeros((1, CODES), dtype=np.float32)
    stay[0, [3, 4]] = 1
    drug = int(rule.given[[3]].indices[0])
    p, q = (rule.given[[row]].toarray()[0, drug] for row in (3, 4))
    found = drug_probabilities(rule, csr_array(stay))[0, drug]
    assert found == pytest.approx(1 - (1 - rule.background[drug]) * (1 - p) * (1 - q))


def test_sexes_newborns_and_patients(made):
    stays, targets = made.stays, made.targets
    female, age = stays.inputs[:, [INGREDIENTS]].toarray()[:, 0] > 0, stays.inputs[:, [INGREDIENTS + 1]].toarray()[:, 0]

    def have(node):
        return targets.gold[:, [targets.nodes.index(node)]].toarray()[:, 0]

    assert have("630-679").sum() > 20
    assert not have("630-679")[~female].any()
    assert not have("600-608")[female].any()
    newborn = np.array([ward == "newborn" for ward in stays.wards])
    assert np.array_equal(newborn, age == 0)
    assert have("760-779").sum() > 200
    assert not have("760-779")[~newborn].any()
    adult = ~newborn
    assert have("390-459")[adult & (age > 65 / 89)].mean() > have("390-459")[adult & (age < 45 / 89)].mean() + 0.1
    assert len(set(stays.patient_ids)) == 3160
    assert set(stays.wards) == {"newborn", "surgical", "medical"}


def test_codes_of_a_section_go_together(made):
    """A stay with a code of a middling section has another of its sections far more often than any stay has one."""
    counts = np.array([made.rule.sections.index(section) for section in made.rule.sections])
    by_section = np.zeros((4000, len(set(counts.tolist()))))
    order = {first: number for number, first in enumerate(sorted(set(counts.tolist())))}
    for row in range(4000):
        for column in made.billed[[row]].indices:
            by_section[row, order[counts[column]]] += 1
    any_stay = (by_section > 0).mean(axis=0)
    middling = (any_stay > 0.02) & (any_stay < 0.1)
    assert middling.sum() > 10
    again = (by_section[:, middling] > 1).sum(axis=0) / (by_section[:, middling] > 0).sum(axis=0)
    assert np.median(again / any_stay[middling]) > 3


def test_drugs_beat_frequencies_at_every_level(made):
    """A naive Bayes reading of the drugs, nothing cleverer, against the frequency of each node."""
    (fold,) = monte_carlo_folds(made.stays.patient_ids, 0, number=1, held_out=150)
    inputs, gold = made.stays.inputs.toarray() > 0, made.targets.gold.toarray()
    train = fold.train[:2000]
    given, truth = inputs[train].astype(np.float32), gold[train].astype(np.float32)
    has = truth.sum(axis=0)
    usual = (given.mean(axis=0) * 20 + 0.01)[:, None]
    together = given.T @ truth
    with_code = (together + usual) / (has + 20)
    without = (given.sum(axis=0)[:, None] - together + usual) / (len(given) - has + 20)
    ratio = np.log(with_code / without)
    prior = np.log((has + 0.5) / (len(given) - has + 0.5))
    tested, codes = inputs[fold.test].astype(np.float32), np.array(made.targets.levels)
    scores = tested @ ratio + prior
    billed = made.targets.billed
    for name, nodes in {**{level: codes == level for level in TREE_LEVELS}, "billed": billed}.items():
        own = ranking_metrics(gold[fold.test][:, nodes], scores[:, nodes])
        dummy = ranking_metrics(gold[fold.test][:, nodes], np.tile(prior[nodes], (len(fold.test), 1)))
        assert own["ndcg"] > dummy["ndcg"] + 0.1, name
        assert own["rank_errors_at_50"] < dummy["rank_errors_at_50"], name
