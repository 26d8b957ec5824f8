"""The clumsy and the hostile user at the command: one line on stderr, exit code 2, nothing left behind, no traceback.

What single verbs refuse is tested beside them; here stand what crosses stages and what only the real command meets.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from concept_icd.cli.main import main
from concept_icd.corpora import synthetic_notes
from tests.conftest import ROOT

SECRET = "zebrafish"  # stands for note text that must not reach a message


def command(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "concept_icd.cli.main", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, **options)


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of stderr."""
    err = capsys.readouterr().err
    progress = re.compile(r"\[|adapter |.+: \d+/\d+ \w+, \d+ s")  # what was begun
    lines = [line for line in err.splitlines() if not progress.match(line)]
    assert len(lines) == 1, err
    assert lines[0].startswith("concept-icd"), err
    assert SECRET not in err
    return lines[0]


@pytest.fixture(scope="module")
def stages(llama, tmp_path_factory) -> Path:
    """corpus, tuned, scores and coder, made by the verbs one after the other, and a note."""
    root = tmp_path_factory.mktemp("stages")
    tuning = f"--corpus {root}/corpus --output_dir {root}/tuned --model_name_or_path {llama} --max_steps 1 --folds 2"
    for line in (
        f"synth notes --notes 60 --out {root}/corpus",
        f"finetune {tuning} --levels chapter code --per_device_train_batch_size 2",
        f"score --corpus {root}/corpus --tuned {root}/tuned --out {root}/scores",
        f"fit --corpus {root}/corpus --scores {root}/scores --out {root}/coder --features path",
    ):
        assert main(line.split()) == 0
    (root / "note.txt").write_text(f"{SECRET}. Cough and fever. Pneumonia.")
    return root


@pytest.fixture
def copy(stages, tmp_path) -> Path:
    shutil.copytree(stages, tmp_path / "stages")
    return tmp_path / "stages"


@pytest.mark.slow
def test_a_note_of_a_million_characters_is_coded_and_says_what_was_not_read(stages, tmp_path):
    note = tmp_path / "long.txt"
    note.write_text(f"{SECRET} cough and fever. " * 50_000)
    assert note.stat().st_size > 1_000_000
    done = command("code", note, "--coder", stages / "coder", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "not read" in json.loads(done.stdout)["truncated"]
    assert SECRET not in done.stdout
    table = command("code", note, "--coder", stages / "coder")
    assert "Not all was read" in table.stdout


@pytest.mark.parametrize("name", ["concepts.json", "prompt.yaml", "heads.json", "heads.safetensors", "coder.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone", "empty", "binary"])
def test_a_damaged_coder_is_one_line(copy, capsys, name, damage):
    path = copy / "coder" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    if damage == "gone":
        path.unlink()
    else:
        half = path.read_bytes()[: len(content) // 2]
        path.write_bytes({"truncated": half, "flipped": content, "empty": b"", "binary": b"\0\xff" * 500}[damage])
    assert main(["code", str(copy / "note.txt"), "--coder", str(copy / "coder")]) == 2
    line = told(capsys)
    assert str(copy / "coder") in line


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_adapter_is_one_line(copy, capsys, name, damage):
    path = copy / "coder" / "adapter" / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 0x01
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content)
    assert main(["code", str(copy / "note.txt"), "--coder", str(copy / "coder")]) == 2
    assert "adapter" in told(capsys)


def test_a_coder_of_another_version_says_which(copy, capsys):
    path = copy / "coder" / "coder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    assert main(["code", str(copy / "note.txt"), "--coder", str(copy / "coder")]) == 2
    assert "is a coder of format 99, this version reads 3" in told(capsys)


LINES = {
    "malformed": '{"note_id": "b", "text": "' + SECRET,
    "no text": '{"note_id": "b"}',
    "twice": json.dumps({"note_id": "a", "text": SECRET}),
    "no code": json.dumps({"note_id": "b", "text": SECRET, "diagnoses": ["pneumonia"]}),
    "number": json.dumps({"note_id": "b", "text": SECRET, "diagnoses": [428.0]}),
    "empty": json.dumps({"note_id": "b", "text": " "}),
    "NUL": json.dumps({"note_id": "b", "text": SECRET + "\0"}),
}


@pytest.mark.parametrize("flaw", LINES)
def test_a_bad_line_stops_prepare_and_run_before_they_write(tmp_path, capsys, flaw):
    notes = tmp_path / "notes.jsonl"
    notes.write_text(
        json.dumps({"note_id": "a", "text": "Cough.", "diagnoses": ["7862"]}) + "\n\n" + LINES[flaw] + "\n"
    )
    for words in (["prepare", "jsonl", str(notes)], ["run", "--corpus", str(notes)]):
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        assert f"{notes}, line 3: " in told(capsys)
        assert list(tmp_path.iterdir()) == [notes]


def test_malformed_xml_names_the_line_and_codes_nothing(stages, tmp_path, capsys):
    reports = tmp_path / "reports.xml"
    reports.write_text(f'<docs>\n<doc id="1">\n<texts><text type="IMPRESSION">{SECRET}</texts>\n</doc></docs>')
    out = tmp_path / "p.jsonl"
    assert main(["code", "--corpus", str(reports), "--coder", str(stages / "coder"), "--out", str(out)]) == 2
    assert f"{reports}, line 3: malformed XML" in told(capsys)
    assert list(tmp_path.iterdir()) == [reports]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("prepare text {s}/none --out {t}/o", "none: no such file or folder"),
        ("synth notes --notes 3 --out {t}/file/o", "cannot write"),
        ("finetune --corpus {s}/none --output_dir {t}/o", "has no manifest.json"),
        ("finetune --corpus {s}/scores --output_dir {t}/o", "was written by `score`, not by `prepare`"),
        ("finetune --corpus {s}/corpus --output_dir {t}/o --lerning_rate 1", "did you mean 'learning_rate'"),
        ("finetune --corpus {s}/corpus --output_dir {t}/file/o --model_name_or_path {m}", "cannot write"),
        (
            "finetune --corpus {s}/corpus --output_dir {t}/o --codes {s}/note.txt",
            "note.txt, line 1: not a code of ICD-9-CM",
        ),
        ("score --corpus {s}/corpus --tuned {s}/none --out {t}/o", "has no manifest.json"),
        ("score --corpus {s}/tuned --tuned {s}/tuned --out {t}/o", "was written by `finetune`, not by `prepare`"),
        ("score --corpus {s}/corpus --tuned {s}/tuned --out {t}/o --splits devel", "no notes in the splits devel"),
        ("score --corpus {s}/corpus --tuned {s}/tuned --out {t}/o --limit 0", "--limit"),
        ("score --corpus {s}/corpus --tuned {s}/tuned --out {t}/o --max-length 5", "5"),
        ("score --corpus {s}/corpus --tuned {s}/tuned --out {t}/o --note-text half", "whole or sections, it is 'half'"),
        ("score --corpus {s}/corpus --tuned {s}/tuned --out {t}/o --device gpu9", "gpu9"),
        ("score --corpus {s}/corpus --tuned {s}/tuned --out {t}/o --device cuda:99", "cuda:99"),
        (
            "score --corpus {s}/corpus --tuned {s}/tuned --out {s}/scores --limit 5",
            "was begun with other settings (notes)",
        ),
        ("fit --corpus {s}/corpus --scores {s}/tuned --out {t}/o", "was written by `finetune`, not by `score`"),
        ("fit --corpus {s}/corpus --scores {s}/scores --out {s}/coder", "exists already"),
        ("fit --corpus {s}/corpus --scores {s}/scores --out {t}/o --split devel", "devel"),
        ("fit --corpus {s}/corpus --scores {s}/scores --out {t}/o --folds 1", "folds"),
        ("code {s}/note.txt --coder {s}/scores", "there is no coder in"),
        ("code {s}/note.txt --coder {s}/note.txt", "there is no coder in"),
        ("code {s}/note.txt --coder {s}/coder --model {s}/none", "--model"),
        ("code --corpus {s}/corpus --coder {s}/coder --out {t}/file/p.jsonl", "cannot write"),
        ("code --corpus {s}/corpus --coder {s}/coder --out {s}/corpus", "cannot write"),
        ("run --corpus {s}/none --out {t}/o", "no such file or folder"),
        ("run --corpus {s}/corpus --config cmc207-tiny --out {t}/o", "cmc207-tiny"),
        ("demo --notes 5 --out {t}/o", "--notes 5"),
        ("demo --data-dir {s}/none --out {t}/o", "none"),
        ("ontology show 428.99", "428.99"),
        ("ontology show pneumonia", "pneumonia"),
    ],
)
def test_one_line_and_nothing_left(stages, llama, tmp_path, capsys, words, sentence):
    (tmp_path / "file").write_text("no folder")
    before = snapshot(stages), snapshot(tmp_path)
    assert main(words.format(s=stages, t=tmp_path, m=llama).split()) == 2
    assert sentence in told(capsys)
    assert (snapshot(stages), snapshot(tmp_path)) == before


@pytest.mark.parametrize(
    ("key", "nearest"), [("learning_rat", "learning_rate"), ("negative_shar", "negative_share"), ("Folds", "folds")]
)
def test_an_unknown_config_key_names_the_nearest_in_every_verb_that_takes_one(stages, tmp_path, capsys, key, nearest):
    config = tmp_path / "c.yaml"
    config.write_text(f"{key}: 1\n")
    for words in (
        f"finetune --config {config} --corpus {stages}/corpus --output_dir {tmp_path}/o",
        f"run --config {config} --corpus {stages}/corpus --out {tmp_path}/o",
    ):
        assert main(words.split()) == 2
        assert f"unknown key {key!r} (did you mean {nearest!r}?)" in told(capsys)
        assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("damaged", ["notes.parquet", "manifest.json"])
def test_a_damaged_corpus_is_one_line_in_every_stage(copy, capsys, damaged):
    path = copy / "corpus" / damaged
    path.write_bytes(path.read_bytes()[:-30])
    before = snapshot(copy)
    for words in (
        f"finetune --corpus {copy}/corpus --output_dir {copy}/o",
        f"score --corpus {copy}/corpus --tuned {copy}/tuned --out {copy}/o",
        f"fit --corpus {copy}/corpus --scores {copy}/scores --out {copy}/o",
        f"code --corpus {copy}/corpus --coder {copy}/coder --out {copy}/o",
    ):
        assert main(words.split()) == 2
        assert str(path) in told(capsys)
        assert snapshot(copy) == before


@pytest.mark.parametrize("damaged", ["concepts.json", "folds.json", "prompt.yaml", "fold-0/adapter_model.safetensors"])
def test_a_damaged_tuning_run_is_one_line(copy, capsys, damaged):
    path = copy / "tuned" / damaged
    path.write_bytes(path.read_bytes()[:100])
    assert main(f"score --corpus {copy}/corpus --tuned {copy}/tuned --out {copy}/o".split()) == 2
    assert str(path.parent) in told(capsys)


def test_a_damaged_base_model_is_one_line(stages, llama, tmp_path, capsys):
    model = shutil.copytree(llama, tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    words = f"finetune --corpus {stages}/corpus --output_dir {tmp_path}/o --model_name_or_path {model} --folds 0"
    assert main(words.split()) == 2
    assert f"cannot load the base model '{model}'" in told(capsys)
    assert main(f"code {stages}/note.txt --coder {stages}/coder --model {model}".split()) == 2
    assert "is not the model that the coder was fitted with" in told(capsys)


def fill_up(disk: Path, spare: int) -> None:
    """Leaves `spare` bytes free."""
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(os.urandom(max(0, free - spare)))


@pytest.mark.parametrize(
    ("spare", "words"),
    [
        (0, "synth notes --notes 60 --out {d}/o"),
        (20_000, "synth notes --notes 60 --out {d}/o"),
        (0, "fit --corpus {s}/corpus --scores {s}/scores --out {d}/o --features path"),
        (40_000, "fit --corpus {s}/corpus --scores {s}/scores --out {d}/o --features path"),
        (0, "code --corpus {s}/corpus --coder {s}/coder --out {d}/p.jsonl"),
        (40_000, "code --corpus {s}/corpus --coder {s}/coder --out {d}/p.jsonl"),
    ],
)
def test_a_full_disk_is_one_line_and_nothing_half_written(stages, small_disk, capsys, spare, words):
    fill_up(small_disk, spare)
    assert main(words.format(s=stages, d=small_disk).split()) == 2
    line = told(capsys).lower()
    assert "no space left" in line
    assert line.count("cannot write") == 1
    kept = {"p.jsonl.partial"} if words.startswith("code") and spare else set()  # whole notes, to go on from
    assert {path.name for path in small_disk.iterdir()} == {"ballast"} | kept


@pytest.mark.slow
@pytest.mark.parametrize("spare", [0, 100_000, 250_000])
def test_tuning_and_scoring_on_a_full_disk_go_on_when_there_is_space(stages, llama, small_disk, capsys, spare):
    d = small_disk
    fill_up(d, spare)
    tune = f"finetune --corpus {stages}/corpus --output_dir {d}/t --model_name_or_path {llama} --max_steps 2 --folds 2 "
    tune += "--levels chapter code --per_device_train_batch_size 2 --save_strategy steps --save_steps 1"
    score = f"score --corpus {stages}/corpus --tuned {d}/t --out {d}/s"
    capsys.readouterr()
    assert main(tune.split()) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("concept-icd finetune: cannot write ")
    assert "no space left" in err.lower()
    assert "Traceback" not in err
    (d / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=40m", str(d)], check=True)
    assert main(tune.split()) == 0
    fill_up(d, spare // 10)
    capsys.readouterr()
    assert main(score.split()) == 2
    assert "no space left" in capsys.readouterr().err.lower()
    (d / "ballast").unlink()
    assert main(score.split()) == 0


@pytest.mark.slow
def test_a_batch_with_bad_notes_codes_the_others_in_the_real_command(stages, tmp_path):
    notes = tmp_path / "notes.jsonl"
    good = [json.dumps({"note_id": c.note.note_id, "text": c.note.text}) for c in synthetic_notes(notes=2, seed=5)]
    notes.write_text("\n".join([good[0], *LINES.values(), good[1]]) + "\n")
    done = command("code", "--corpus", notes, "--coder", stages / "coder", "--out", tmp_path / "p.jsonl")
    assert done.returncode == 1
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 3  # "twice" is the first note "a"
    failures = [json.loads(line) for line in (tmp_path / "p.jsonl.failures.jsonl").read_text().splitlines()]
    assert [failure["place"] for failure in failures] == [f"{notes}, line {n}" for n in (2, 3, 5, 6, 7, 8)]
    assert SECRET not in done.stderr + done.stdout + str(failures)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["code", "none.txt"], "none.txt"),
        (["finetune", "--config", "none.yaml"], "none.yaml"),
        (["score", "--corpus", "a", "--tuned", "b", "--out", "c"], "a has no manifest.json"),
        (["evaluate", "--predictions", "a", "--gold", "b", "--out", "c"], "b"),
    ],
)
def test_the_real_command_prints_nothing_but_the_sentence(tmp_path, words, sentence):
    done = command(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("concept-icd")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())
