"""The baseline learns what words tell, and survives codes that all or none of the notes have."""

import numpy as np

from concept_icd.baselines.tfidf_svm import TfidfSvm

WORDS = ["cough", "fever", "hydronephrosis"]


def notes(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.random((count, len(WORDS))) < 0.4
    texts = [" ".join(["report of", *(w for w, said in zip(WORDS, row, strict=True) if said)]) for row in gold]
    return texts, gold


def test_it_learns_the_words_and_keeps_the_threshold_that_it_chose():
    texts, gold = notes(120, 0)
    model = TfidfSvm.fit(texts, gold, list(range(120)))
    new_texts, new_gold = notes(60, 1)
    assert (model.threshold.accept(model.predict_proba(new_texts)) == new_gold).mean() > 0.98
    assert "cross-validated" in model.threshold.source


def test_codes_of_all_or_no_notes_are_constants():
    texts, gold = notes(60, 0)
    gold = np.column_stack([gold, np.ones(60, dtype=bool), np.zeros(60, dtype=bool)])
    probabilities = TfidfSvm.fit(texts, gold, list(range(60))).predict_proba(texts[:5])
    assert np.allclose(probabilities[:, 3], 1 / (1 + np.exp(-1)))
    assert np.allclose(probabilities[:, 4], 1 / (1 + np.exp(1)))
