"""Folds: sizes, disjoint stays and patients, and what cannot be drawn."""

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.medications.study.run import monte_carlo_folds, patient_folds

RNG = np.random.default_rng(0)
PATIENTS = [f"p{number}" for number in RNG.integers(700, size=1000)]


def parts(fold):
    return fold.train, fold.dev, fold.test


@pytest.mark.parametrize("by", ["patient", "stay"])
def test_every_stay_is_in_one_part(by):
    for fold in monte_carlo_folds(PATIENTS, 0, by=by, held_out=100):
        assert sorted(np.concatenate(parts(fold))) == list(range(1000))
        assert (len(fold.dev), len(fold.test)) == (100, 100)


def test_by_patient_no_patient_is_in_two_parts_and_by_stay_some_are():
    def shared(fold):
        train, dev, test = ({PATIENTS[row] for row in rows} for rows in parts(fold))
        return (train & dev) | (train & test) | (dev & test)

    assert not any(shared(fold) for fold in monte_carlo_folds(PATIENTS, 0))
    assert all(shared(fold) for fold in monte_carlo_folds(PATIENTS, 0, by="stay"))


def test_draws_differ_and_repeat_with_their_seed():
    first, second, third = monte_carlo_folds(PATIENTS, 0)
    assert not np.array_equal(first.test, second.test)
    assert not np.array_equal(second.test, third.test)
    assert np.array_equal(first.test, monte_carlo_folds(PATIENTS, 0)[0].test)
    assert not np.array_equal(first.test, monte_carlo_folds(PATIENTS, 1)[0].test)


@pytest.mark.parametrize("by", ["patient", "stay"])
def test_the_studys_sizes(by):
    patients = np.random.default_rng(1).integers(46_520, size=58_976).astype(str).tolist()
    (fold,) = monte_carlo_folds(patients, 0, number=1, by=by)
    assert [len(rows) for rows in parts(fold)] == [48_976, 5_000, 5_000]


def test_leaving_patients_out_tests_every_stay_once():
    folds = patient_folds(PATIENTS, 5, seed=0)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(1000))
    for fold in folds:
        assert sorted(np.concatenate(parts(fold))) == list(range(1000))
        train, dev, test = ({PATIENTS[row] for row in rows} for rows in parts(fold))
        assert not (train & dev) | (train & test) | (dev & test)


def test_empty_parts_stop_with_a_sentence():
    with pytest.raises(InputError, match="2 stays drawn by stay leave train without a stay"):
        monte_carlo_folds(["a", "b"], 0, by="stay")
    with pytest.raises(InputError, match="3 stays drawn by patient leave dev and test without a stay"):
        monte_carlo_folds(["a", "a", "a"], 0)
    with pytest.raises(InputError, match="3 folds of 2 patients"):
        patient_folds(["a", "b", "b"], 3, 0)
    with pytest.raises(InputError, match="three or more folds"):
        patient_folds(PATIENTS, 2, 0)
