from __future__ import annotations

import numpy as np

from concept_icd.corpora.folds import group_folds


def test_a_patient_is_in_one_fold_and_folds_are_even():
    groups = [f"patient {i % 37}" for i in range(185)]
    fold = group_folds(groups, 5, seed=0)
    assert all(len({f for f, g in zip(fold, groups, strict=True) if g == group}) == 1 for group in set(groups))
    counts = np.bincount(fold)
    assert len(counts) == 5
    assert counts.max() - counts.min() <= 5  # one patient's notes


def test_the_seed_decides():
    assert (group_folds(range(50), 5, seed=1) == group_folds(range(50), 5, seed=1)).all()
    assert (group_folds(range(50), 5, seed=1) != group_folds(range(50), 5, seed=2)).any()


def test_fewer_patients_than_folds():
    assert sorted(group_folds(["a", "a", "b"], 5, seed=0).tolist()) in ([0, 0, 1], [0, 1, 1])
