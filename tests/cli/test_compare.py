import argparse
import json
import re
import shutil

import numpy as np
import pytest

from concept_icd.cli import compare, evaluate
from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.metrics import decision_metrics, metric_intervals, order_metrics
from concept_icd.records import CodedNote, Note

CODES = ("038.9", "401.9", "428.0", "486", "38.93", "99.04")
DIAGNOSES = np.array([True] * 4 + [False] * 2)
NOTES = 60


@pytest.fixture(scope="module")
def truth():
    """Billing orders of 60 notes of 30 patients: places (notes, codes), from 1 within a kind."""
    random = np.random.default_rng(1)
    places = np.zeros((NOTES, len(CODES)), dtype=int)
    for row in places:
        for kind in (DIAGNOSES, ~DIAGNOSES):
            gold = np.flatnonzero(kind & (random.random(len(CODES)) < 0.5))
            row[gold] = random.permutation(gold.size) + 1
    places[:, 0] = np.where((places > 0).any(axis=1), places[:, 0], 1)  # each note has a code
    return places


@pytest.fixture
def files(truth, tmp_path):
    """A corpus, a classifier, and the same classifier in billing order with its probabilities kept."""
    notes, better, classifier = [], [], []
    random = np.random.default_rng(2)
    probabilities = np.round(np.clip(0.5 * random.random(truth.shape) + 0.4 * (truth > 0), 0, 1), 3)
    for row, (places, values) in enumerate(zip(truth, probabilities, strict=True)):
        listed = [CODES[c] for c in np.argsort(places, kind="stable") if places[c]]
        diagnoses = tuple(code for code in listed if DIAGNOSES[CODES.index(code)])
        procedures = tuple(code for code in listed if code not in diagnoses)
        note = Note(f"n{row}", "text", f"p{row // 2}")
        notes.append(CodedNote(note, diagnoses, procedures, split="test"))
        billed = sorted(range(len(CODES)), key=lambda c: (places[c] == 0, places[c]))
        by_probability = sorted(range(len(CODES)), key=lambda c: -values[c])
        for lines, order in ((better, billed), (classifier, by_probability)):
            entries = [
                {"code": CODES[c], "probability": values[c], "rank": rank, "accepted": bool(values[c] >= 0.4)}
                for rank, c in enumerate(order, start=1)
            ]
            lines.append({"note_id": note.note_id, "codes": entries})
    save_corpus(tmp_path / "corpus", notes)
    write(tmp_path / "classifier.jsonl", classifier)
    write(tmp_path / "ranked.jsonl", better)
    return tmp_path


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def matrix(rows, field, codes):
    """(notes, codes) of one field of the predictions."""
    return np.array([[{entry["code"]: entry[field] for entry in row["codes"]}[code] for code in codes] for row in rows])


def options(module, *arguments):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def run(folder, *runs, gold="corpus", more=("--draws", 40)):
    given = [*runs, "--gold", folder / gold, "--out", folder / "out", "--overwrite", *more]
    assert compare.run(options(compare, *given)) == 0
    return json.loads((folder / "out" / "compare.json").read_text())


def evaluated(folder, predictions, out, *more):
    """An evaluation folder as the pipeline leaves it, from a file of predictions."""
    arguments = ["--predictions", folder / predictions, "--gold", folder / "corpus", "--out", folder / out]
    assert evaluate.run(options(evaluate, *arguments, "--draws", 0, *more)) == 0
    shutil.copy(folder / predictions, folder / out / "predictions.jsonl")
    return folder / out


def test_the_figures_are_those_of_the_metrics_and_ranking_changes_no_accepted_code(files, truth):
    found = run(files, files / "classifier.jsonl", files / "ranked.jsonl")
    first, second = found["systems"]
    assert (first["name"], second["name"]) == ("classifier", "ranked")
    rows = read(files / "classifier.jsonl")
    values = matrix(rows, "probability", sorted(CODES))
    columns = [CODES.index(code) for code in sorted(CODES)]
    places = truth[:, columns]
    assert first["figures"]["micro_f1"] == decision_metrics(places > 0, values >= 0.4)["micro_f1"]
    expected = order_metrics(places, values, DIAGNOSES[columns])
    for name in ("primary_accuracy", "graded_ndcg_diagnoses", "kendall_tau_procedures", "graded_dcg_at_3_procedures"):
        assert first["figures"][name] == pytest.approx(expected[name]), name
    assert second["figures"]["primary_accuracy"] == second["figures"]["graded_ndcg_procedures"] == 1.0
    difference = found["differences"]["ranked"]
    assert difference["micro_f1"] == {"difference": 0, "low": 0, "high": 0, "draws": 30}
    assert difference["primary_accuracy"]["difference"] == pytest.approx(1 - expected["primary_accuracy"])
    assert difference["primary_accuracy"]["low"] > 0
    # The note is read further where the same probabilities stand in another order, and less of it in vain.
    assert difference["reading_depth_at_90"]["difference"] > 0
    assert second["figures"]["rank_errors_at_100"] < first["figures"]["rank_errors_at_100"]
    assert difference["reading_recall_at_90"]["low"] <= difference["reading_recall_at_90"]["difference"]
    assert found["notes"]["reading_recall_at_90"] == NOTES
    assert found["notes"]["micro_f1"] == NOTES
    assert found["notes"]["primary_accuracy"] == (truth[:, :4] > 0).any(axis=1).sum() < NOTES


def test_differences_are_paired_over_patients(files, truth):
    found = run(files, files / "classifier.jsonl", files / "ranked.jsonl", more=("--draws", 50, "--seed", 3))
    rows = [read(files / name) for name in ("classifier.jsonl", "ranked.jsonl")]
    ranks = [matrix(part, "rank", CODES) for part in rows]
    numbered = np.arange(NOTES)[:, None] * np.ones(len(CODES))

    def slow(gold, number):
        drawn = number[:, 0].astype(int)
        own = [order_metrics(truth[drawn], -rank[drawn], DIAGNOSES)["graded_ndcg_diagnoses"] for rank in ranks]
        return own[1] - own[0]

    patients = [n // 2 for n in range(NOTES)]
    expected = metric_intervals(slow, truth > 0, numbered, patients, draws=50, seed=3)["metric"]
    difference = found["differences"]["ranked"]["graded_ndcg_diagnoses"]
    assert (difference["low"], difference["high"]) == pytest.approx((expected["low"], expected["high"]))
    own = [row["intervals"]["graded_ndcg_diagnoses"] for row in found["systems"]]
    assert own[0]["high"] - own[0]["low"] > 0
    assert (found["resampled"], found["counts"]["patients"]) == ("patients", 30)


def test_folders_files_and_names(files):
    ours = evaluated(files, "ranked.jsonl", "ours/evaluation")
    theirs = evaluated(files, "classifier.jsonl", "theirs/evaluation")
    found = run(files, ours, theirs)
    assert [row["name"] for row in found["systems"]] == ["ours", "theirs"]
    assert run(files, files / "ours", theirs)["systems"] == found["systems"]  # the folder of a whole run
    named = run(files, f"head={ours}", f"plain={files / 'classifier.jsonl'}")
    assert [row["name"] for row in named["systems"]] == ["head", "plain"]
    assert [row["figures"] for row in named["systems"]] == [row["figures"] for row in found["systems"]]
    assert found["label_set"] == "6 codes of ours"


def test_the_page_has_every_system_in_one_picture_and_fetches_nothing(files, capsys):
    more = ("--all", "--draws", 20, "--train-counts", files / "corpus")
    run(files, files / "classifier.jsonl", f"<ours>={files / 'ranked.jsonl'}", more=more)
    text = (files / "out" / "compare.html").read_text()
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|<iframe| src=| href=\"(?!#)", text)
    assert text.count('aria-label="Cumulative gain, ') == 2
    for name in ("classifier", "&lt;ours&gt;", "training frequency (dummy)", "the billing order itself"):
        in_the_forest = name in ("&lt;ours&gt;", "training frequency (dummy)")  # the first is what they differ from
        assert text.count(f"</svg>{name}</span>") == 2 + in_the_forest, name
    assert "<ours>" not in text
    assert not any(f">n{row}<" in text for row in range(NOTES))
    told = capsys.readouterr().out
    for words in ("primary_accuracy", "training", "difference from classifier", "page: "):
        assert words in told


def test_what_json_prints_is_what_the_file_holds(files, capsys):
    found = run(files, files / "classifier.jsonl", files / "ranked.jsonl", more=("--draws", 0, "--json"))
    assert json.loads(capsys.readouterr().out) == found
    assert found["systems"][0]["intervals"] == {}
    assert set(found["differences"]["ranked"]["micro_f1"]) == {"difference"}


def test_decisions_alone_and_partial_lists(files):
    full = read(files / "ranked.jsonl")
    write(files / "short.jsonl", [line | {"codes": line["codes"][:3]} for line in full])
    (files / "sets.psv").write_text(
        "".join("|".join([row["note_id"], *(e["code"] for e in row["codes"] if e["accepted"])]) + "\n" for row in full)
    )
    found = run(files, files / "ranked.jsonl", files / "short.jsonl", files / "sets.psv")
    whole, short, sets = found["systems"]
    assert "50.0% of the pairs are not named" in short["accepted_at"]
    assert short["figures"]["primary_accuracy"] == whole["figures"]["primary_accuracy"] == 1.0
    assert short["figures"]["primary_mrr"] == 1.0
    assert sets["figures"]["micro_f1"] == whole["figures"]["micro_f1"]
    assert "primary_accuracy" not in sets["figures"]
    assert "primary_accuracy" not in found["differences"]["sets"]


def test_without_an_order_there_are_no_figures_of_it(files):
    found = run(files, files / "classifier.jsonl", files / "ranked.jsonl", more=("--draws", 5, "--no-order"))
    assert "primary_accuracy" not in found["systems"][0]["figures"]
    assert found["gain"] == {}


def test_in_sample_heads_are_stamped(files):
    leaky = [line | {"versions": {"heads_fitted_on": "IN-SAMPLE scores"}} for line in read(files / "ranked.jsonl")]
    write(files / "leaky.jsonl", leaky)
    found = run(files, files / "classifier.jsonl", files / "leaky.jsonl")
    assert found["systems"][0]["stamps"] == []
    assert found["systems"][1]["stamps"][0].startswith("IN-SAMPLE")
    assert '<p class="stamp">leaky: IN-SAMPLE' in (files / "out" / "compare.html").read_text()


def refused(files, *runs, **more):
    with pytest.raises(InputError) as error:
        run(files, *runs, **more)
    assert not (files / "out").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_other_notes_are_refused(files):
    lines = read(files / "ranked.jsonl")
    write(files / "fewer.jsonl", lines[:-2])
    told = refused(files, files / "classifier.jsonl", files / "fewer.jsonl")
    assert told == "fewer and classifier are of different notes: 2 are in one alone, such as 'n58'"
    write(files / "other.jsonl", lines[:-2])
    told = refused(files, files / "fewer.jsonl", files / "other.jsonl")
    assert told.startswith("fewer and the gold are of different notes: 2 are in one alone, such as 'n58'; --split")


def test_other_label_sets_are_refused(files):
    lines = read(files / "ranked.jsonl")
    for line in lines:
        line["codes"] = [entry for entry in line["codes"] if entry["code"] != "486"]
    write(files / "five.jsonl", lines)
    told = refused(files, files / "classifier.jsonl", files / "five.jsonl")
    assert told.startswith("five and classifier have other label sets: 1 codes are named by one alone, such as 486;")
    (files / "codes.txt").write_text("\n".join(CODES))
    both = run(files, files / "classifier.jsonl", files / "five.jsonl", more=("--codes", files / "codes.txt"))
    assert both["counts"]["codes"] == 6
    shutil.rmtree(files / "out")
    (files / "codes.txt").write_text("\n".join(CODES[:5]))
    told = refused(files, files / "classifier.jsonl", more=("--codes", files / "codes.txt"))
    assert told.startswith("classifier predicts over another label set: 1 of its codes are not among the 5 that are")
    five = evaluated(files, "five.jsonl", "a/evaluation", "--codes", files / "codes.txt")
    told = refused(files, evaluated(files, "classifier.jsonl", "b/evaluation"), five)
    assert told == "a was measured on another label set: 5 codes, 5 of them among the 6 of b"


def test_a_folder_that_was_measured_on_other_gold_is_refused(files):
    ours = evaluated(files, "ranked.jsonl", "ours")
    lines = [{"note_id": line["note_id"], "codes": ["428.0"]} for line in read(files / "ranked.jsonl")]
    write(files / "gold.jsonl", lines)
    told = refused(files, ours, files / "classifier.jsonl", gold="gold.jsonl")
    assert told.startswith("ours was measured on other gold codes: 038.9 is gold in ")
    assert "notes there and in 0 of --gold (6 codes differ)" in told
    write(ours / "predictions.jsonl", read(files / "ranked.jsonl")[1:])
    assert refused(files, ours).startswith("results.json and predictions.jsonl of ours are of different notes")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["absent.jsonl"], "cannot read .*absent.jsonl"),
        (["corpus"], "corpus holds no results.json; a run is an evaluation folder or a file of predictions"),
        (["bare"], "bare holds no predictions.jsonl: name the file of predictions"),
        (["strange"], "is not what `concept-icd evaluate` writes"),
        (["ranked.jsonl", "ranked.jsonl"], "two runs are called 'ranked'; call one by another name: NAME="),
    ],
)
def test_what_is_no_run_is_told(files, runs, message):
    for name in ("bare", "strange"):
        (files / name).mkdir()
        (files / name / "results.json").write_text("{}")
    (files / "strange" / "predictions.jsonl").write_text("")
    assert re.search(message, refused(files, *(files / run for run in runs)))


def test_bad_options_are_told(files):
    assert "--draws -1 is below 0" in refused(files, files / "ranked.jsonl", more=("--draws", -1))
    (files / "taken").mkdir()
    with pytest.raises(InputError, match="exists already"):
        compare.run(options(compare, files / "ranked.jsonl", "--gold", files / "corpus", "--out", files / "taken"))


def test_a_threshold_is_chosen_on_other_notes(files):
    """Above .3 the dev notes have 401.9, below they do not; the other run keeps its own flags."""
    dev = [{"note_id": f"d{row}", "probabilities": {"401.9": p}} for row, p in enumerate((0.1, 0.3, 0.7, 0.8))]
    gold = [{"note_id": f"d{row}", "codes": ["401.9"] if row > 1 else []} for row in range(4)]
    write(files / "dev.jsonl", dev)
    write(files / "dev_gold.jsonl", gold)
    chosen = ("--draws", 0, "--threshold-from", files / "dev_gold.jsonl", f"classifier={files / 'dev.jsonl'}")
    found = run(files, files / "classifier.jsonl", files / "ranked.jsonl", more=chosen)
    first, second = found["systems"]
    assert "best micro-F1 (1.000) on 4 other notes, dev_gold.jsonl" in first["accepted_at"]
    assert second["accepted_at"] == "the predictions' own accepted flags"
    threshold = float(first["accepted_at"].split()[2].rstrip(","))
    assert 0.3 < threshold <= 0.7
    values = matrix(read(files / "classifier.jsonl"), "probability", CODES)
    assert first["accepted_labels"] == (values >= threshold).sum()
    for named, sentence in (
        ([files / "dev_gold.jsonl"], "takes the gold of other notes, and NAME=PREDICTIONS"),
        ([files / "dev_gold.jsonl", f"clasifier={files / 'dev.jsonl'}"], "did you mean 'classifier'"),
    ):
        with pytest.raises(InputError, match=sentence):
            run(files, files / "classifier.jsonl", more=("--threshold-from", *named))
