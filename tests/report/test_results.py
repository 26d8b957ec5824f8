import json
import re

import numpy as np
import pytest

from concept_icd import metrics
from concept_icd.errors import InputError
from concept_icd.report import EvaluationInputs, evaluate, write_report
from tests.report.html_page import Page

CODES = ("038.9", "401.9", "428.0", "99.04", "V30.01")
NOTES = tuple(f"note {n}" for n in range(40))


def evaluated(*matrices, draws=1000, **known):
    return evaluate(EvaluationInputs(*matrices, **known), draws=draws)


@pytest.fixture(scope="module")
def matrices():
    random = np.random.default_rng(0)
    gold = random.random((40, 5)) < [0.5, 0.4, 0.3, 0.1, 0.0]
    return gold, np.clip(0.6 * random.random((40, 5)) + 0.4 * gold, 0, 1)


@pytest.fixture(scope="module")
def results(matrices):
    patients = [n // 2 for n in range(40)]
    extra = {
        "levels": metrics.level_metrics(matrices[1][:, :2], matrices[0][:, :2], ["chapter", "code"]),
        "systems": {"oracle bound <gold in>": metrics.decision_metrics(matrices[0], matrices[0])},
        "folds": 5,
    }
    return evaluated(
        *matrices,
        CODES,
        NOTES,
        patients=patients,
        train_counts={"038.9": 700, "401.9": 3},
        titles={"038.9": "Septicemia & <shock>"},
        draws=50,
        extra=extra,
    )


def test_figures_are_those_of_the_metrics(matrices, results):
    expected = metrics.classification_metrics(*matrices) | metrics.ranking_metrics(*matrices)
    expected |= metrics.calibration_metrics(*matrices)
    for name, value in expected.items():
        assert results.figures[name] == pytest.approx(value, nan_ok=True), name
    interp = metrics.rank_errors_at_recall(*matrices, mode="interp")
    assert results.figures["rank_errors_interp_at_25"] == interp["rank_errors_at_25"]
    assert results.figures["rank_errors_interp_at_25"] != results.figures["rank_errors_at_25"]


def test_every_figure_has_its_n_its_interval_and_its_threshold(matrices, results):
    gold, probabilities = matrices
    assert results.counts == {
        "notes": 40,
        "notes_with_gold": int(gold.any(axis=1).sum()),
        "patients": 20,
        "codes": 5,
        "codes_present": 4,
        "gold_labels": int(gold.sum()),
        "accepted_labels": int((probabilities >= 0.5).sum()),
    }
    assert (results.threshold, results.threshold_source) == (0.5, "default .5, not tuned")
    headline = ("micro_f1", "macro_f1", "macro_f1_present", "macro_f1_caml", "micro_auc", "macro_auc", "exact_match")
    for name in (*headline, "precision_at_5", "map", "ndcg", "rank_errors_at_100"):
        interval = results.intervals[name]
        assert interval["low"] <= results.figures[name] <= interval["high"]
        assert interval["draws"] == 20  # each sample is without one of the patients
    assert results.resampled == "patients"


def test_a_code_row_counts_its_hits_and_misses(matrices, results):
    gold, accepted = matrices[0][:, 0], matrices[1][:, 0] >= 0.5
    row = results.codes[0]
    assert (row["code"], row["train_count"], row["gold"]) == ("038.9", 700, gold.sum())
    assert (row["tp"], row["fp"], row["fn"]) == (sum(gold & accepted), sum(~gold & accepted), sum(gold & ~accepted))
    assert row["f1"] == pytest.approx(2 * row["tp"] / (2 * row["tp"] + row["fp"] + row["fn"]))
    assert results.codes[2]["train_count"] == 0


def test_the_order_and_the_accepted_codes_may_come_from_elsewhere(matrices):
    gold, probabilities = matrices
    found = evaluated(
        *(gold, probabilities, CODES, NOTES),
        scores=-probabilities,
        decisions=gold,
        threshold_source="the predictions' own accepted flags",
        draws=0,
    )
    assert found.figures["micro_f1"] == found.figures["exact_match"] == 1.0
    assert found.figures["map"] == metrics.ranking_metrics(gold, -probabilities)["map"]
    assert found.figures["micro_auc"] == metrics.area_metrics(gold, probabilities)["micro_auc"]
    assert found.threshold is None
    assert found.intervals == {}
    assert found.ranked_by == "the predictions' own ranks"


def test_how_far_to_read_by_hand(tmp_path):
    """Two notes with gold at ranks 1 and 3, and at rank 2; a third without, which counts beside them."""
    gold = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    probabilities = np.tile([0.9, 0.5, 0.4, 0.1], (3, 1))
    depths = {
        0.5: (np.array([1, 1, 1]), np.array([0.6, 0.5, 0.6])),
        0.9: (np.array([3, 1, 4]), np.array([0.9, 0.94, 1.0])),
    }
    found = evaluated(gold, probabilities, CODES[:4], ["a", "b", "c"], depths=depths, draws=20)
    half, most = found.curves["reading"]
    assert (half["asked"], half["recall"], half["reached"], half["errors"]) == (0.5, 0.25, 0.5, 0.5)
    assert (most["notes"], most["depth"], most["median_depth"], most["depth_without_gold"]) == (2, 2, 2, 4)
    assert (most["recall"], most["expected"], most["reached"], most["errors"]) == (0.5, pytest.approx(0.92), 0.5, 1.0)
    # One depth for both notes: a recall of 1/4, 3/4 and 1 at 1, 2 and 3.
    assert (most["fixed_depth"], most["fixed_errors"]) == pytest.approx((1.5, 1.5 - 0.75))
    assert most["recall_interval"]["low"] < 0.5 < most["recall_interval"]["high"]
    assert found.figures["reading_recall_at_90"] == 0.5
    assert found.figures["reading_fixed_depth_at_90"] == pytest.approx(1.5)
    assert found.intervals["reading_depth_at_90"]["low"] < 2 < found.intervals["reading_depth_at_90"]["high"]
    text = write_report(found, tmp_path / "out").read_text()
    Page(text)
    assert "How far to read" in text
    assert "the expected recall that came with the predictions" in text
    assert "<td>90%</td>" in text


def test_foreign_probabilities_are_taken_at_their_word(matrices, results):
    from concept_icd.metrics.recall_depth import expected_recall, stops

    gold, probabilities = matrices
    expected = expected_recall(probabilities, np.argsort(-probabilities, axis=1, kind="stable"))
    with_gold = gold.any(axis=1)
    assert [row["asked"] for row in results.curves["reading"]] == [0.5, 0.75, 0.8, 0.9, 0.95]
    for row in results.curves["reading"]:
        depth, at = stops(expected, row["asked"])
        assert row["depth"] == pytest.approx(depth[with_gold].mean())
        assert row["expected"] == pytest.approx(at[with_gold].mean())
    assert "taken at their word" in results.curves["reading_from"]
    # The other way round the same probabilities ask for more reading.
    turned = evaluated(gold, probabilities, CODES, NOTES, scores=-probabilities, draws=0)
    assert turned.figures["reading_depth_at_90"] > results.figures["reading_depth_at_90"]


def test_each_figure_is_defined_where_it_is_stored_and_calibration_errors_have_no_interval(results):
    stored = results.to_dict()
    assert "confidence max(p, 1 - p)" in stored["definitions"]["ece"]
    assert "not comparable with ece" in stored["definitions"]["ece_positive"]
    assert set(stored["definitions"]) == set(stored["figures"])
    assert stored["intervals"]["brier"]["low"] < stored["figures"]["brier"] < stored["intervals"]["brier"]["high"]
    assert not [name for name in stored["intervals"] if name.startswith(("ece", "mce"))]


def test_filtered_figures_stand_beside_the_others(matrices, results, tmp_path):
    gold, probabilities = matrices
    expected = metrics.classification_metrics(gold, probabilities, codes_with_gold_only=True)
    expected |= metrics.ranking_metrics(gold, probabilities, codes_with_gold_only=True)
    assert results.filtered == pytest.approx({name: expected[name] for name in results.filtered})
    assert {"micro_f1", "macro_f1", "exact_match", "map", "r_precision", "precision_at_5"} <= set(results.filtered)
    assert results.filtered["micro_f1"] > results.figures["micro_f1"]  # the code that is nobody's is accepted in vain
    for name, value in results.filtered.items():
        assert results.filtered_intervals[name]["low"] <= value <= results.filtered_intervals[name]["high"], name
    assert "Filtered figures" in write_report(results, tmp_path / "out").read_text()
    nothing = evaluated([[0, 0]], [[0.1, 0.7]], ["401.9", "428.0"], ["a"], draws=5)
    assert nothing.filtered == nothing.filtered_intervals == {}


def test_both_forms_of_rank_errors_have_intervals(matrices, results):
    for name in ("rank_errors_at_75", "rank_errors_interp_at_25", "rank_errors_interp_at_100"):
        interval = results.intervals[name]
        assert interval["low"] <= results.figures[name] <= interval["high"], name
    assert results.intervals["rank_errors_interp_at_100"] == results.intervals["rank_errors_at_100"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": CODES[:4]}, "40 notes and 4 codes"),
        ({"codes": CODES[:4] + CODES[:1]}, "without repeats"),
        ({"note_ids": NOTES[:39] + NOTES[:1]}, "without repeats"),
        ({"threshold": 0.3}, "threshold_source"),
        ({"decisions": np.ones((40, 4)), "threshold_source": "x"}, "shape"),
        ({"patients": ["p"]}, "1 groups"),
    ],
)
def test_what_does_not_fit_is_told(matrices, change, message):
    arguments = {"codes": CODES, "note_ids": NOTES} | change
    with pytest.raises(ValueError, match=message):
        evaluated(*matrices, **arguments)


def test_the_folder_holds_both_files_and_nothing_of_a_note(results, tmp_path):
    page = write_report(results, tmp_path / "out")
    assert {path.name for path in page.parent.iterdir()} == {"results.json", "report.html"}
    text = (page.parent / "results.json").read_text()
    stored = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert stored["figures"]["micro_f1"] == results.figures["micro_f1"]
    assert stored["versions"]["numpy"] == np.__version__
    assert not any(note in text + page.read_text() for note in NOTES)
    with pytest.raises(InputError, match="exists already"):
        write_report(results, tmp_path / "out")


def test_undefined_figures_are_null(tmp_path):
    found = evaluated([[0, 0]], [[0.1, 0.7]], ["401.9", "428.0"], ["a"], draws=5)
    page = write_report(found, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["figures"]["micro_auc"] is None
    assert stored["intervals"]["map"] == {"low": None, "high": None, "draws": 0}
    assert "No note has a gold code" in page.read_text()


def test_the_billing_order_has_its_figures_intervals_and_rows(matrices, tmp_path):
    gold, probabilities = matrices
    places = np.where(gold, np.arange(5) + 1, 0)
    kinds = ["diagnosis", "diagnosis", "diagnosis", "procedure", "diagnosis"]
    found = evaluated(*matrices, CODES, NOTES, places=places, kinds=kinds, draws=30)
    expected = metrics.order_metrics(places, probabilities, [kind == "diagnosis" for kind in kinds])
    for name, value in expected.items():
        if name == "kendall_tau_procedures":  # there is one procedure
            assert np.isnan(value)
            assert name not in found.figures
            continue
        assert found.figures[name] == value, name
    for name in ("primary_accuracy", "graded_ndcg_diagnoses", "kendall_tau_diagnoses"):
        interval = found.intervals[name]
        assert interval["low"] < found.figures[name] < interval["high"], name
    text = write_report(found, tmp_path / "out").read_text()
    Page(text)
    for name in found.figures:
        assert f"<code>{name}</code>" in text, name
    with pytest.raises(ValueError, match="places are those of the gold codes"):
        evaluated(*matrices, CODES, NOTES, places=0 * places, kinds=kinds)


def test_the_page_is_whole_and_fetches_nothing(results, tmp_path):
    text = write_report(results, tmp_path / "out", title="A <b>title</b>").read_text()
    page = Page(text)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|<iframe| src=| href=\"(?!#)", text)
    assert sum(tag == "svg" and "aria-label" in attrs for tag, attrs in page.tags) == 4
    assert not {"shock", "gold"} & {tag for tag, _ in page.tags}  # titles are text, not tags
    words = " ".join(page.words)
    for expected in (
        "A <b>title</b>",
        "Septicemia & <shock>",
        "oracle bound <gold in>",
        "macro_f1_caml",
        "20 patients",
    ):
        assert expected in words
    for name in results.figures:
        assert f"<code>{name}</code>" in text, name


def test_charts_put_values_where_they_belong(matrices):
    from concept_icd.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, linear, logarithmic

    chart = Chart("t", linear(100), logarithmic(1000), "x", "y")
    assert chart.at(0, 0) == (LEFT, HEIGHT - BOTTOM)
    assert chart.at(100, 1000) == (WIDTH - RIGHT, TOP)
    assert chart.x.ticks == [0, 20, 40, 60, 80, 100]
    assert chart.y.ticks == [0, 1, 10, 100, 1000]
    assert linear(1).ticks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_the_wilson_interval_by_hand():
    from concept_icd.report.charts import wilson

    # 5 of 10, z = 2: centre (.5 + .2) / 1.4 = .5, spread sqrt(.025 * 4 + .04) / 1.4
    low, high = wilson(0.5, 10, z=2)
    assert (low, high) == pytest.approx((0.5 - np.sqrt(0.14) / 1.4, 0.5 + np.sqrt(0.14) / 1.4))
    assert wilson(0.0, 10)[0] == 0
