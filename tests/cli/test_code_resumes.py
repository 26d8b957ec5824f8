"""`code --corpus` is stopped in every way; the same command goes on, and nothing of a user's is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from concept_icd.cli.main import main
from tests.conftest import ROOT

NOTES = [f"Cough for {n} days. Impression: {('pneumonia', 'asthma', 'reflux')[n % 3]}." for n in range(130)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps({"note_id": f"n{n}", "text": text}) + "\n" for n, text in enumerate(NOTES)))
    return path


def command(corpus: Path, out: Path, *more: str) -> list[str]:
    return ["code", "--corpus", str(corpus), "--out", str(out), "--top", "3", *more]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run gives that nobody stops; it uses the shipped coder, which is there in a moment."""
    folder = tmp_path_factory.mktemp("unbroken")
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps({"note_id": f"n{n}", "text": text}) + "\n" for n, text in enumerate(NOTES)))
    assert main(command(path, folder / "p.jsonl")) == 0
    return (folder / "p.jsonl").read_bytes()


def stopped(arguments: Sequence[str], partial: Path, number: int, lines: int = 66) -> int:
    """The exit code of a real run that gets a signal when its partial file has so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "concept_icd.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        # As in a terminal: these tests may run in the background, which hands an ignored SIGINT or SIGHUP on.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)],
    )
    while process.poll() is None:
        if partial.is_file() and partial.read_bytes().count(b"\n") > lines:
            process.send_signal(number)
            return process.wait()
        time.sleep(0.002)
    raise AssertionError("the run ended before it was stopped")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(corpus, tmp_path, unbroken, number, code, capsys):
    out, partial = tmp_path / "p.jsonl", tmp_path / "p.jsonl.partial"
    assert stopped(command(corpus, out), partial, number) == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.jsonl", "p.jsonl.partial"]  # and nothing hidden
    assert partial.stat().st_mode & 0o777 == 0o600
    assert not any(text.encode() in partial.read_bytes() for text in NOTES)
    with partial.open("ab") as file:
        file.write(b'{"note_id": "n2')  # as a kill in the midst of a line leaves it
    assert main(command(corpus, out)) == 0
    assert "of 130 notes are coded already" in capsys.readouterr().err
    assert out.read_bytes() == unbroken
    assert out.stat().st_mode & 0o777 == 0o600
    assert not partial.exists()


def test_what_was_begun_with_other_settings_is_refused(corpus, tmp_path, capsys):
    out, partial = tmp_path / "p.jsonl", tmp_path / "p.jsonl.partial"
    stopped(command(corpus, out), partial, signal.SIGKILL, lines=3)
    before = partial.read_bytes()
    assert main(command(corpus, out, "--concepts", "1")) == 2
    assert "was begun with other settings (options)" in capsys.readouterr().err
    assert main(command(corpus, out, "--limit", "9", "--overwrite")) == 2
    assert "was begun with other settings (notes)" in capsys.readouterr().err
    assert partial.read_bytes() == before
    partial.write_text("mine\n")
    assert main(command(corpus, out)) == 2
    assert "is no file that this command began" in capsys.readouterr().err
    assert partial.read_text() == "mine\n"


def test_finished_predictions_are_replaced_only_when_told(corpus, tmp_path, capsys):
    out = tmp_path / "p.jsonl"
    assert main(command(corpus, out, "--limit", "2")) == 0
    before = out.read_bytes()
    assert main(command(corpus, out, "--limit", "1")) == 2
    assert "exists already; name another file or pass --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main(command(corpus, out, "--limit", "1", "--overwrite")) == 0
    assert out.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("name", ["notes.jsonl", "hard", "soft", "thesis.txt", "folder/a.txt", "p.jsonl.partial"])
@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_an_output_that_is_an_input_or_something_else_stays(corpus, tmp_path, capsys, name, more):
    os.link(corpus, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(corpus)
    (tmp_path / "folder").mkdir()
    for mine in ("thesis.txt", "folder/a.txt", "p.jsonl.failures.jsonl"):
        (tmp_path / mine).write_text("Cough.")
    read = tmp_path / "folder" if "/" in name else corpus
    if name.endswith(".partial"):  # what is listed beside the output is not of this command
        name = "p.jsonl"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(command(read, tmp_path / name, *more)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_predictions_may_lie_in_the_folder_of_the_notes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("Cough.")
    for more in ([], ["--overwrite"]):
        assert main(["code", "--corpus", str(tmp_path), "--out", str(tmp_path / "p.jsonl"), *more]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt", "p.jsonl"]


def test_sizes_of_passes_stay_those_that_a_run_was_begun_with(corpus, tmp_path, capsys):
    """The scorer with torch, since sizes were named; the command that goes on names none."""
    out, partial = tmp_path / "p.jsonl", tmp_path / "p.jsonl.partial"
    stopped(command(corpus, out, "--batch-tokens", "900"), partial, signal.SIGKILL, lines=3)
    head = json.loads(partial.read_bytes().split(b"\n")[0])
    assert {name: head["options"][name] for name in ("chunk_tokens", "batch_tokens")} == {
        "chunk_tokens": 512,
        "batch_tokens": 900,
    }
    assert main(command(corpus, out, "--batch-tokens", "800")) == 2
    assert "was begun with other settings (options)" in capsys.readouterr().err
    assert main(command(corpus, out)) == 0
    assert "notes are coded already" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == len(NOTES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch-tokens", "0"), "--batch-tokens 0: a number from 1 up is needed"),
        (("--scorer", "server", "--chunk-tokens", "9"), "are of --scorer packed"),
    ],
)
def test_sizes_that_would_do_nothing_are_refused(corpus, tmp_path, capsys, options, said):
    assert main(command(corpus, tmp_path / "p.jsonl", *options)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()
