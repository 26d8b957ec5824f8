import json

import numpy as np
import pytest

from concept_icd import metrics
from concept_icd.corpora.mimic3.tasks import MIMIC3_50
from concept_icd.report import EvaluationInputs, Results, evaluate, write_report
from concept_icd.report.published import published_rows
from concept_icd.report.terminal import print_results

CODES = ("038.9", "401.9", "428.0", "99.04", "V30.01", "486")


@pytest.fixture
def printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def show(**extra):
        random = np.random.default_rng(0)
        gold = random.random((20, 6)) < 0.2
        probabilities = np.clip(0.6 * random.random((20, 6)) + 0.4 * gold, 0, 1)
        note_ids = [str(note) for note in range(20)]
        given = EvaluationInputs(gold, probabilities, CODES, note_ids, extra=extra)
        print_results(evaluate(given, draws=10))
        return " ".join(capsys.readouterr().out.split())

    return show


def test_a_bound_is_a_row_of_its_own_under_its_plain_name(printed):
    figures = metrics.decision_metrics(np.eye(2), np.eye(2))
    told = printed(systems={"oracle [gold answers]": figures})
    assert "oracle [gold answers]" in told
    assert "1.000" in told.split("oracle [gold answers]")[1]
    assert "these predictions" in told


def test_the_ceiling_stands_beside_the_precision(printed):
    told = printed()
    assert "precision_at_5" in told
    assert "(at most 0." in told
    assert "beside published" not in told


def test_a_refusal_is_one_sentence_and_no_table(printed):
    refused = published_rows("mimic3-50", CODES, 57, 20).to_dict()
    told = printed(published=refused)
    assert refused["refusal"] in told
    assert "KEPT" not in told
    shown = printed(published=published_rows("mimic3-50", MIMIC3_50, 8066, 1729).to_dict())
    assert "KEPT 2022" in shown
    assert "these predictions: accepted at default .5, not tuned" in shown


def test_in_sample_heads_are_told_first(printed):
    assert printed(coder={"heads_fitted_on": "IN-SAMPLE scores"}).startswith("IN-SAMPLE")
    assert "IN-SAMPLE" not in printed(coder={"heads_fitted_on": "out-of-fold scores"})


def test_a_figure_without_an_interval_has_none_in_words(capsys, tmp_path):
    """One of two notes has gold, so that figures hang on it alone, and with one code there is no area under a curve;
    stored and read again it is the same."""
    results = evaluate(EvaluationInputs([[1], [0]], [[0.4], [0.4]], CODES[:1], ["a", "b"]))
    results.figures["macro_auc"] = float("nan")
    write_report(results, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["intervals"]["map"]["low"] is None
    for found in (results, Results.from_dict(stored)):
        print_results(found)
        told = capsys.readouterr().out
        assert "micro_f1" in told
        assert "nan" not in told
