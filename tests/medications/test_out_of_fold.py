"""Out-of-fold logits: by a network that never saw the patient, in the columns asked for."""

import dataclasses

import numpy as np
import pytest

from concept_icd.corpora.folds import group_folds
from concept_icd.errors import InputError
from concept_icd.medications.strategy import Strategy
from concept_icd.medications.synthetic import synthetic_stays
from concept_icd.medications.targets import frequencies
from concept_icd.medications.training import fit, out_of_fold_logits
from concept_icd.metrics import ranking_metrics

STRATEGY = Strategy(units=48, epochs=15, learning_rate=3e-3, dropout=0.2, bias="log_odds", stop_share=0.0, patience=5)


@pytest.fixture(scope="module")
def made():
    return synthetic_stays(400, seed=5)


def test_a_folds_logits_do_not_hang_on_its_own_gold(made):
    """The gold codes of fold 1 are emptied: its own logits stay, those of the other fold move."""
    stays, targets, few = made.stays, made.targets, dataclasses.replace(STRATEGY, epochs=2)
    folds = group_folds(stays.patient_ids, 2, seed=1)
    gold = targets.gold.toarray()
    first = out_of_fold_logits(stays, targets, folds, few)
    assert first.dtype == np.float32
    assert first.shape == gold.shape
    gold[folds == 1] = np.roll(gold[folds == 1], 1, axis=0)
    moved = dataclasses.replace(targets, gold=type(targets.gold)(gold))
    again = out_of_fold_logits(stays, moved, folds, few)
    assert np.array_equal(first[folds == 1], again[folds == 1])
    assert not np.array_equal(first[folds == 0], again[folds == 0])


def test_nodes_are_those_asked_for_and_say_more_than_frequencies(made):
    stays, targets = made.stays, made.targets
    sections = [node for node, level in zip(targets.nodes, targets.levels, strict=True) if level == "section"][::-1]
    logits = out_of_fold_logits(stays, targets, 2, STRATEGY, nodes=sections)
    gold = targets.gold[:, [targets.nodes.index(node) for node in sections]]
    dummy = np.tile(frequencies(gold), (len(logits), 1))
    learnt, usual = (ranking_metrics(gold.toarray(), scores)["ndcg"] for scores in (logits, dummy))
    assert learnt > usual + 0.02


def test_what_cannot_be_folded_is_one_sentence(made):
    stays, targets = made.stays, made.targets
    with pytest.raises(InputError, match=r"'999\.99' is no node of these stays"):
        out_of_fold_logits(stays, targets, 2, STRATEGY, nodes=["999.99"])
    with pytest.raises(InputError, match="two folds or more"):
        out_of_fold_logits(stays, targets, 1, STRATEGY)
    of = group_folds(stays.patient_ids, 3, seed=0)
    twice = next(row for row, who in enumerate(stays.patient_ids) if stays.patient_ids.count(who) > 1)
    of[twice] = (of[twice] + 1) % 3
    with pytest.raises(InputError, match=f"patient {stays.patient_ids[twice]} has stays in two folds"):
        out_of_fold_logits(stays, targets, of, STRATEGY)
    with pytest.raises(ValueError, match="400 stays but folds of 7"):
        out_of_fold_logits(stays, targets, [0] * 7, STRATEGY)
    with pytest.raises(InputError, match="both need at least one"):
        fit(stays, targets, np.array([0]), STRATEGY)
