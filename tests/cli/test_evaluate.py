import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from concept_icd.cli import evaluate
from concept_icd.errors import InputError

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
    from concept_icd.corpora import save_corpus
    from concept_icd.records import CodedNote, Note

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
