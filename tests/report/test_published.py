import dataclasses

import pytest

from concept_icd.corpora.mimic3.tasks import MIMIC3_50, RARE50, TASKS
from concept_icd.errors import InputError
from concept_icd.report.definitions import DEFINITIONS, describe_source, own_rows, published_name
from concept_icd.report.published import published_benchmarks, published_rows


def rows(*arguments):
    found = published_rows(*arguments)
    assert found.refusal is None
    return {row.system: row for row in found.rows}


def test_the_figures_stand_under_the_name_of_their_formula():
    top50 = rows("mimic3-50", MIMIC3_50, 8066, 1729)
    caml = top50["CAML"]
    assert caml.figures == pytest.approx(
        {"macro_auc": 0.875, "micro_auc": 0.909, "macro_f1_caml": 0.532, "micro_f1": 0.614, "precision_at_5": 0.609}
    )
    assert (caml.year, caml.source, caml.threshold) == (2018, "Mullenbach et al. 2018", "p >= .5")
    assert caml.known == "remembered, to be checked against the paper"
    assert set(top50["AnEMIC's CAML"].figures) == {"macro_f1", "micro_f1", "precision_at_5"}
    rare = rows("mimic3-rare50", RARE50, 249, 142)
    assert (rare["KEPT"].figures["macro_f1_caml"], rare["KEPT"].figures["micro_f1"]) == (0.304, 0.326)
    assert (rare["CEC"].figures["macro_f1_caml"], rare["CEC"].figures["macro_f1"]) == (0.91, 0.888)


def test_what_looks_like_an_oracle_says_so():
    for task, labels, train, test in (("mimic3-50", MIMIC3_50, 8066, 1729), ("mimic3-rare50", RARE50, 249, 142)):
        assert "label-informed" in rows(task, labels, train, test)["CEC"].caveat


def test_a_row_of_another_label_set_is_named_and_not_shown():
    found = published_rows("mimic3-50", MIMIC3_50, 8066, 1729)
    assert "LAAT" not in {row.system for row in found.rows}
    assert [sentence for sentence in found.left_out if sentence.startswith("LAAT 2020 is left out: its own 50 labels")]


def test_every_figure_is_a_share_and_a_metric_of_this_package():
    known = {metric for group in DEFINITIONS.values() for metric in group}
    for benchmark in published_benchmarks().values():
        assert [row.year for row in benchmark.rows] == sorted(row.year for row in benchmark.rows)
        for row in benchmark.rows:
            assert set(row.figures) <= known, row.system
            assert all(0 < value < 1 for value in row.figures.values()), row.system


def test_the_sizes_are_those_of_the_tasks():
    for name, benchmark in published_benchmarks().items():
        task = TASKS[name]
        assert task.stays["train"] in benchmark.train
        assert task.stays["test"] == benchmark.test
        assert benchmark.labels == (task.labels or benchmark.labels) == len(task.codes or range(benchmark.labels))


SWAPPED = ("93.90", *(label for label in MIMIC3_50 if label != "37.23"))  # LAAT's own fifty


@pytest.mark.parametrize(
    ("task", "labels", "train", "test", "sentence"),
    [
        ("mimic3-50", MIMIC3_50, 57, 1729, "no published rows: 57 training stays here, 8,066 there"),
        ("mimic3-50", MIMIC3_50, 44728, 1729, "no published rows: 44,728 training stays here, 8,066 there"),
        ("mimic3-50", MIMIC3_50, 8066, 20, "no published rows: 20 test stays here, 1,729 there"),
        (
            *("mimic3-50", MIMIC3_50, None, 1729),
            "no published rows: how many training stays there were is not known",
        ),
        # the guard against comparing across label sets: every number is right, the labels are not
        (
            *("mimic3-50", SWAPPED, 8066, 1729),
            "no published rows: another label set, 49 of 50 labels are the same",
        ),
        ("mimic3-50", RARE50, 8066, 1729, "no published rows: another label set, 0 of 50 labels are the same"),
        ("mimic3-50", MIMIC3_50[:48], 8066, 1729, "no published rows: 48 labels here, 50 there"),
        ("mimic3-full", range(9017), 47719, 3372, "no published rows: 9,017 labels here, 8,922 there"),
        (
            *("mimic3-full", range(8922), 3, 4),
            "no published rows: 3 training stays here, 47,719 or 47,723 there; 4 test stays here, 3,372 there",
        ),
        (
            *("mimic3-50-recounted", MIMIC3_50, 8066, 1729),
            "no published rows: nothing is published on mimic3-50-recounted",
        ),
    ],
)
def test_what_does_not_compare_is_refused_in_a_sentence(task, labels, train, test, sentence):
    found = published_rows(task, [str(label) for label in labels], train, test)
    assert (found.rows, found.left_out, found.refusal) == ((), (), sentence)


def test_the_order_of_the_labels_does_not_matter():
    assert rows("mimic3-50", MIMIC3_50[::-1], 8066, 1729)


def test_there_is_no_such_task():
    with pytest.raises(InputError, match=r"no task 'mimic3-5' \(did you mean 'mimic3-50'"):
        published_rows("mimic3-5", MIMIC3_50, 8066, 1729)


def test_filtered_rows_say_so_and_stand_beside_our_filtered_figures():
    filtered = {row.system for task in published_benchmarks().values() for row in task.rows if row.filtered}
    assert filtered == {"PLM-ICD", "LTR-ICD"}
    clean = published_benchmarks()["mimic3-clean"].rows
    published = {"rows": [{"filtered": row.filtered} for row in clean]}
    assert [row.figures["micro_f1"] for row in clean] == [0.597, 0.6065]
    ours = own_rows(published, {"micro_f1": 0.5}, {"micro_f1": 0.6})
    assert ours == [("these predictions", {"micro_f1": 0.5}), ("these predictions, filtered", {"micro_f1": 0.6})]
    assert len(own_rows({"rows": [{"filtered": False}]}, {"micro_f1": 0.5}, {"micro_f1": 0.6})) == 1
    row = dataclasses.asdict(clean[0])
    assert published_name(row) == "PLM-ICD 2023, filtered"
    assert "codes without a gold example in the test notes are left out" in describe_source(row)
