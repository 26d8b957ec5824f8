import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from concept_icd.cli import evaluate
from concept_icd.corpora import save_corpus
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, TASKS
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note

ROOT = Path(__file__).resolve().parent.parent.parent
GOLD = {"a": ["428.0", "99.04"], "b": ["401.9"], "c": ["401.9", "428.0"], "d": []}
PROBABILITIES = {
    "a": {"428.0": 0.9, "99.04": 0.4, "401.9": 0.1},
    "b": {"401.9": 0.7, "428.0": 0.6, "99.04": 0.2},
    "c": {"401.9": 0.8, "428.0": 0.3, "99.04": 0.1},
    "d": {"401.9": 0.2, "428.0": 0.1, "99.04": 0.1},
}


@pytest.fixture
def files(tmp_path):
    """Two patients; the same predictions in both forms."""
    write(tmp_path / "gold.jsonl", [{"note_id": n, "patient_id": f"p{n in 'ab'}", "codes": c} for n, c in GOLD.items()])
    write(tmp_path / "plain.jsonl", [{"note_id": n, "probabilities": p} for n, p in PROBABILITIES.items()])
    ours = []
    for note, codes in PROBABILITIES.items():
        rows = sorted(codes.items(), key=lambda row: -row[1])
        entries = [
            {"rank": n, "code": code, "title": "", "probability": p, "accepted": p >= 0.35, "concepts": []}
            for n, (code, p) in enumerate(rows, start=1)
        ]
        ours.append({"note_id": note, "truncated": None, "codes": entries, "versions": {}})
    write(tmp_path / "ours.jsonl", ours)
    return tmp_path


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def run(folder, *arguments, predictions="plain.jsonl", out="out"):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    paths = ["--predictions", folder / predictions, "--gold", folder / "gold.jsonl", "--out", folder / out]
    assert evaluate.run(parser.parse_args([str(argument) for argument in (*paths, "--draws", 20, *arguments)])) == 0
    return json.loads((folder / out / "results.json").read_text())


def test_plain_predictions_at_one_half(files):
    found = run(files)
    # accepted: a 428.0 | b 401.9, 428.0 | c 401.9 | d nothing: TP 3, FP 1, FN 2
    assert found["figures"]["micro_f1"] == pytest.approx(6 / 9)
    assert found["figures"]["exact_match"] == 0.25
    assert found["figures"]["precision_at_5"] == pytest.approx((2 + 1 + 2) / 5 / 3)
    assert (found["threshold"], found["threshold_source"]) == (0.5, "default .5, not tuned")
    assert (found["counts"]["notes"], found["counts"]["patients"], found["counts"]["codes"]) == (4, 2, 3)
    assert set(found["inputs"]) == {"predictions", "gold"}
    assert found["codes"][0]["title"] == "Unspecified essential hypertension"
    assert (files / "out" / "report.html").is_file()


def test_the_packages_own_flags_and_ranks_are_used(files):
    found = run(files, predictions="ours.jsonl")
    # accepted from .35: also a 99.04, so TP 4, FP 1, FN 1
    assert found["figures"]["micro_f1"] == pytest.approx(0.8)
    assert (found["threshold"], found["threshold_source"]) == (None, "the predictions' own accepted flags")
    assert found["ranked_by"] == "the predictions' own ranks"


def test_a_named_threshold_stands_above_the_flags(files):
    found = run(files, "--threshold", "0.25", predictions="ours.jsonl")
    assert found["figures"]["micro_recall"] == 1.0
    assert (found["threshold"], found["threshold_source"]) == (0.25, "given on the command line")


def test_the_threshold_comes_from_other_notes(files):
    write(files / "dev_gold.jsonl", [{"note_id": "x", "codes": ["428.0"]}])
    write(files / "dev.jsonl", [{"note_id": "x", "probabilities": {"428.0": 0.3, "401.9": 0.2}}])
    found = run(files, "--threshold-from", files / "dev.jsonl", files / "dev_gold.jsonl")
    assert found["threshold"] == pytest.approx(0.25)
    assert "best micro-F1 (1.000) on 1 other notes" in found["threshold_source"]
    assert {"dev predictions", "dev gold"} <= set(found["inputs"])


def test_the_threshold_is_never_chosen_on_the_notes_it_is_measured_on(files):
    with pytest.raises(InputError, match=r"4 notes of .* are also in .* never chosen on the notes"):
        run(files, "--threshold-from", files / "plain.jsonl", files / "gold.jsonl")
    assert not (files / "out").exists()


def test_training_counts_come_from_a_gold_file_or_a_prepared_corpus(files):
    counts = {row["code"]: row["train_count"] for row in run(files, "--train-counts", files / "gold.jsonl")["codes"]}
    assert counts == {"401.9": 2, "428.0": 2, "99.04": 1}
    notes = [CodedNote(Note(f"n{n}", "text"), ("428.0",), split="train" if n else "test") for n in range(3)]
    save_corpus(files / "corpus", notes)
    found = run(files, "--train-counts", files / "corpus", out="second")
    assert {row["code"]: row["train_count"] for row in found["codes"]} == {"401.9": 0, "428.0": 2, "99.04": 0}


def test_a_label_set_can_be_named(files):
    (files / "codes.txt").write_text("401.9\n428.0\n")
    found = run(files, "--codes", files / "codes.txt")
    assert found["counts"]["codes"] == 2
    assert "1 gold and 4 predicted" in found["label_set"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "1.5"], "--threshold 1.5 is no probability"),
        (["--draws", "-1"], "--draws -1 is below 0"),
        (["--codes", "absent.txt"], "cannot read absent.txt"),
        (["--train-counts", "absent"], "cannot read absent"),
    ],
)
def test_bad_options_are_told_and_leave_nothing(files, arguments, message):
    with pytest.raises(InputError, match=message):
        run(files, *arguments)
    assert not (files / "out").exists()


def test_a_missing_note_stops_unless_only_common_notes_are_asked_for(files):
    write(files / "short.jsonl", [{"note_id": n, "probabilities": PROBABILITIES[n]} for n in "abc"])
    with pytest.raises(InputError, match="1 of the 4 notes of the gold are not in the predictions: 'd'"):
        run(files, predictions="short.jsonl")
    assert run(files, "--only-common", predictions="short.jsonl")["counts"]["notes"] == 3


def test_gold_in_billing_order_is_measured_on_its_order(files, capsys):
    found = run(files, "--all", "--train-counts", files / "gold.jsonl")
    # principal: a 428.0 (first), b 401.9 (first), c 401.9 (first); d has none. Gold c: 401.9 worth 2, 428.0 worth 1.
    figures = found["figures"]
    assert (figures["primary_accuracy"], figures["primary_notes"]) == (1.0, 3)
    assert figures["graded_ndcg_diagnoses"] == figures["kendall_tau_diagnoses"] == 1.0
    assert figures["cumulative_gain_at_1_diagnoses"] == pytest.approx((1 + 1 + 2) / 3)
    assert figures["cumulative_gain_at_1_procedures"] == 1.0
    assert found["intervals"]["primary_accuracy"]["low"] == pytest.approx(0.025 ** (1 / 2))  # of two patients
    gain = found["curves"]["gain"]["diagnoses"]
    assert gain["these predictions"] == gain["the billing order itself"] == pytest.approx([4 / 3] + [5 / 3] * 14)
    assert gain["training frequency (dummy)"][0] == pytest.approx((0 + 1 + 2) / 3)  # a tie: 401.9 before 428.0
    page, told = (files / "out" / "report.html").read_text(), " ".join(capsys.readouterr().out.split())
    assert page.count('aria-label="Cumulative gain, ') == 2
    assert "1.000 of 3 notes" in told
    without = run(files, "--no-order", out="second")
    assert "primary_accuracy" not in without["figures"]
    assert "gain" not in without["curves"]
    assert "principal" not in (files / "second" / "report.html").read_text()


def test_a_label_set_that_lacks_the_principal_diagnosis_leaves_the_note_out(files):
    (files / "codes.txt").write_text("401.9\n99.04\n")
    figures = run(files, "--codes", files / "codes.txt")["figures"]
    assert (figures["primary_accuracy"], figures["primary_notes"]) == (1.0, 2)  # a is billed 428.0 first


def test_it_prints_a_table_or_json(files, capsys):
    run(files)
    printed = capsys.readouterr().out
    assert "macro_f1_caml" in printed
    assert f"report: {files / 'out' / 'report.html'}" in printed
    found = run(files, "--json", "--overwrite")
    assert json.loads(capsys.readouterr().out) == found


def test_the_script_is_the_verb(files):
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--predictions", str(files / "plain.jsonl")]
    command += ["--gold", str(files / "absent.jsonl"), "--out", str(files / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=files, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert done.stderr.startswith("concept-icd: cannot read")
    assert done.stderr.count("\n") == 1


def prepared(folder, train, test, labels, task="mimic3-50", seed=0):
    """A corpus as `prepare mimic3` writes it, with invented stays; the predictions know a little of the gold."""
    random = np.random.default_rng(seed)
    gold = random.random((train + test, len(labels))) < 0.1
    gold[~gold.any(axis=1), 0] = True
    notes = [
        CodedNote(
            Note(str(1000 + stay), "text", str(stay // 2)),
            tuple(label for label, is_gold in zip(labels, gold[stay], strict=True) if is_gold),
            split="train" if stay < train else "test",
        )
        for stay in range(train + test)
    ]
    save_corpus(folder / "corpus", notes, label_set=labels, task=task, overwrite=True)
    scores = np.clip(0.5 * random.random(gold.shape) + 0.4 * gold, 0, 1)[train:]
    rows = [[note.note.note_id, *values] for note, values in zip(notes[train:], scores.tolist(), strict=True)]
    with (folder / "matrix.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["hadm_id", *labels], *rows])


def run_on(folder, gold, *arguments, predictions="matrix.csv"):
    paths = ["--predictions", folder / predictions, "--gold", gold, "--out", folder / "out", "--overwrite"]
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    assert evaluate.run(parser.parse_args([str(argument) for argument in (*paths, "--draws", 0, *arguments)])) == 0
    return json.loads((folder / "out" / "results.json").read_text())


def test_published_rows_stand_beside_a_benchmark_of_their_size(tmp_path, capsys):
    prepared(tmp_path, 8066, 1729, MIMIC3_50)
    found = run_on(tmp_path, tmp_path / "corpus")
    published = found["extra"]["published"]
    assert (published["task"], published["refusal"]) == ("mimic3-50", None)
    assert "KEPT" in [row["system"] for row in published["rows"]]
    assert found["label_set"].startswith("50 codes of mimic3-50")
    assert sum(row["train_count"] for row in found["codes"]) > 8066
    told = capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("KEPT 2022", "Mullenbach et al. 2018", "label-informed", "LAAT 2020 is left out", "default .5"):
        assert words in " ".join(told.split()), words
        assert words in page, words
    assert "(at most " in page


def test_another_number_of_training_stays_is_another_benchmark(tmp_path, capsys):
    prepared(tmp_path, 57, 20, MIMIC3_50)
    sentence = "no published rows: 57 training stays here, 8,066 there; 20 test stays here, 1,729 there"
    for arguments in ([], ["--task", "mimic3-50"]):
        found = run_on(tmp_path, tmp_path / "corpus", *arguments)
        assert found["extra"]["published"]["refusal"] == sentence
        assert sentence in " ".join(capsys.readouterr().out.split())
        assert sentence in (tmp_path / "out" / "report.html").read_text()
    named = run_on(tmp_path, tmp_path / "corpus", "--train-stays", 8066)["extra"]["published"]["refusal"]
    assert named == "no published rows: 20 test stays here, 1,729 there"


def test_a_label_set_of_another_name_is_never_compared(tmp_path):
    swapped = ("93.90", *(label for label in MIMIC3_50 if label != "37.23"))
    prepared(tmp_path, 8066, 1729, swapped)
    published = run_on(tmp_path, tmp_path / "corpus")["extra"]["published"]
    assert published["rows"] == []
    assert published["refusal"] == "no published rows: another label set, 49 of 50 labels are the same"
    with pytest.raises(InputError, match="corpus names another label set than mimic3-50: 50 labels, 49 of its 50"):
        run_on(tmp_path, tmp_path / "corpus", "--task", "mimic3-50")


def test_a_named_task_refuses_another_label_set(files):
    gold, plain = files / "gold.jsonl", "plain.jsonl"
    (files / "codes.txt").write_text("401.9\n428.0\n")
    (files / "banana.jsonl").write_text('{"note_id": "a", "codes": ["250.01"]}\n')
    prepared(files, 3, 2, MIMIC3_50[:4], task="mimic3-full")
    for arguments, message in (
        (["--task", "mimic3-50", "--codes", files / "codes.txt"], "names another label set than mimic3-50: 2 labels"),
        (["--task", "mimic3-rare50"], "has another label set: 3 labels of the gold or the predictions are not in it"),
        (["--task", "mimic3-full"], "name a corpus that was prepared for it as --gold, or its 8,922 labels as --codes"),
        (["--task", "mimic3-full", "--codes", files / "codes.txt"], "as --codes, not 2"),
        (["--task", "banana"], "no task 'banana'"),
    ):
        with pytest.raises(InputError, match=message):
            run_on(files, gold, *arguments, predictions=plain)
    with pytest.raises(InputError, match="was prepared for mimic3-full, not for mimic3-50"):
        run_on(files, files / "corpus", "--task", "mimic3-50")
    assert "published" not in run_on(files, gold, predictions=plain)["extra"]
    named = run_on(files, gold, "--task", "mimic3-50", predictions=plain)
    assert named["counts"]["codes"] == 50
    assert "how many training stays there were is not known" in named["extra"]["published"]["refusal"]


def test_spoilt_labels_have_the_title_of_what_they_mean(tmp_path):
    lines = [{"note_id": note, "codes": ["40.7"]} for note in "ab"]
    write(tmp_path / "gold.jsonl", lines)
    (tmp_path / "p.psv").write_text("a|40.7|52.0\nb|\n")
    found = run_on(tmp_path, tmp_path / "gold.jsonl", "--task", "mimic3-rare50", predictions="p.psv")
    row = next(row for row in found["codes"] if row["code"] == "40.7")
    assert (row["tp"], row["fn"]) == (1, 1)
    assert row["title"] == load_ontology("icd9cm").title(TASKS["mimic3-rare50"].aliases["40.7"])


def test_decisions_leave_out_what_they_do_not_say(files, capsys):
    (files / "preds_test.psv").write_text("a|428.0\nb|401.9|428.0\nc|401.9\nd|\n")
    found = run(files, predictions="preds_test.psv")
    expected = run(files, out="second")
    assert found["figures"]["micro_f1"] == expected["figures"]["micro_f1"]
    assert "micro_f1" in found["intervals"]
    assert not {"micro_auc", "map", "precision_at_5", "ece"} & (set(found["figures"]) | set(found["intervals"]))
    assert (found["threshold"], found["threshold_source"]) == (None, "the predictions' own decisions")
    assert "decisions without probabilities" in " ".join(capsys.readouterr().out.split())
    assert "decisions without probabilities have no curves" in (files / "out" / "report.html").read_text()
    for arguments in (["--threshold", "0.4"], ["--threshold-from", files / "preds_test.psv", files / "gold.jsonl"]):
        with pytest.raises(InputError, match="holds decisions without probabilities"):
            run(files, *arguments, predictions="preds_test.psv", out="third")


def test_the_threshold_may_come_from_the_dev_split_of_a_corpus(tmp_path):
    prepared(tmp_path, 4, 4, MIMIC3_50)
    notes = [
        CodedNote(Note("x", "text"), ("401.9",), split="dev"),
        CodedNote(Note("y", "text"), ("311",), split="test"),
    ]
    save_corpus(tmp_path / "two", notes, label_set=("311", "401.9"))
    write(tmp_path / "dev.jsonl", [{"note_id": "x", "probabilities": {"401.9": 0.3, "311": 0.2}}])
    write(tmp_path / "test.jsonl", [{"note_id": "y", "probabilities": {"401.9": 0.2, "311": 0.6}}])
    options = ["--threshold-from", tmp_path / "dev.jsonl", tmp_path / "two"]
    found = run_on(tmp_path, tmp_path / "two", *options, predictions="test.jsonl")
    assert found["threshold"] == pytest.approx(0.25)
    assert found["figures"]["micro_f1"] == 1.0


def test_in_sample_heads_are_stamped(files, capsys):
    lines = [json.loads(line) for line in (files / "ours.jsonl").read_text().splitlines()]
    write(files / "leaky.jsonl", [line | {"versions": {"heads_fitted_on": "IN-SAMPLE scores"}} for line in lines])
    found = run(files, predictions="leaky.jsonl")
    assert found["stamps"][0].startswith("IN-SAMPLE: the coder's heads were fitted on scores of notes")
    assert found["stamps"][0] in " ".join(capsys.readouterr().out.split())
    assert '<p class="stamp">IN-SAMPLE' in (files / "out" / "report.html").read_text()
    assert run(files, predictions="ours.jsonl", out="second")["stamps"] == []
