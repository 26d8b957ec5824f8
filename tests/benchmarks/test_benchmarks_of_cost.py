"""The benchmarks of growth and of the GPU run, small, and count what they say they count."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch

from tests.benchmarks.test_benchmarks import run
from tests.conftest import ROOT


@pytest.mark.slow
def test_growth(tmp_path):
    sizes = ("--layers", 1, "--questions", 30, 300, "--note-tokens", 100, "--at-note-tokens", 400, "--at-questions", 10)
    result = run("growth.py", *sizes, "--chunk-tokens", 64, "--rounds", 1, out=tmp_path / "growth.json")
    assert [(point["note_tokens"], point["questions"]) for point in result["by_questions"]] == [(400, 30), (400, 300)]
    assert [(point["note_tokens"], point["questions"]) for point in result["by_note_tokens"]] == [(100, 10)]
    few, many = result["by_questions"]
    assert many["question_tokens"] > 8 * few["question_tokens"]
    assert many["packed_over_floor_in_operations"] < 1  # questions do not read each other
    peak = result["peak_bytes_above_weights"]
    # Seven times where all are asked at once. The note is long enough for megabytes of other origin not to count.
    assert 0 < peak["300"] < 2 * peak["30"]
    picture = ElementTree.parse(tmp_path / "growth.svg").getroot()
    assert len(picture.findall(".//{*}polyline")) == 5  # packed and floor twice, memory once
    assert len(picture.findall(".//{*}circle")) == 2 * 2 + 2 * 1 + 2
    assert "href" not in (tmp_path / "growth.svg").read_text()


@pytest.mark.slow
def test_gpu_script_on_the_cpu(tmp_path, monkeypatch):
    command = ("gpu.py", "--shape", "tiny", "--rounds", 1, "--work", tmp_path / "work")
    result = run(*command, out=tmp_path / "gpu.json")
    assert (result["shape"], result["model"], result["failed"]) == ("tiny", "tiny", [])
    for note_tokens in ("100", "150"):
        scoring, tuning = result["scoring"][note_tokens], result["tuning"][note_tokens]
        assert (scoring["note_tokens"], scoring["questions"], scoring["notes"]) == (int(note_tokens), 10, 3)
        assert scoring["largest_score_gap"] < 1e-4 < 1e-3 < scoring["score_spread"]
        assert tuning["loss_gap"] < 1e-4
        assert set(tuning["ways"]) > {"packed", "one prompt a question"}
        assert scoring["ways"]["concept head"]["speed_up"] > 0
        for way in (*scoring["ways"].values(), *tuning["ways"].values()):
            assert way["notes_per_second"] > 0
            assert way["notes_per_hour"] == pytest.approx(3600 * way["notes_per_second"], rel=0.01, abs=4)
            assert way["peak_bytes_above_weights"] is None  # a GPU's figure
        shares = scoring["ways"][scoring["fastest"]]["where_time_goes"]
        assert sum(share for share in shares.values() if share) == pytest.approx(1, abs=0.01)
    # Killed before its last part, the same command measures that one alone.
    (tmp_path / "work" / "tiny-tuning.json").unlink()
    again = run(*command, out=tmp_path / "again.json")
    assert again["scoring"] == result["scoring"]
    assert again["tuning"] != result["tuning"]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import summary

    # No result of a GPU is committed: this is where the page's section on it is written.
    text = summary.section("gpu", result)
    rate = result["scoring"]["150"]["ways"]["one prompt a question"]["notes_per_second"]
    hour = result["scoring"]["150"]["ways"]["one prompt a question"]["notes_per_hour"]
    assert f"| 150 | one prompt a question | {rate} | {hour:,} |" in text


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_script_without_a_gpu():
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("torch finds no GPU here: run this on a machine with one")
    assert "Traceback" not in done.stderr


def test_operations_that_a_way_cannot_do_without(monkeypatch):
    """Worked by hand: 1 layer of width 4, 1 head; 4 x 4 x 4 and 3 x 4 x 8 weights are 160."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_timing import forward_backward, needed

    from concept_icd.doctor.cost_model import ModelShape

    shape = ModelShape(1, 4, 8, 1, 1, 4, 10, 10, True, "by hand")
    linear, attention = needed(shape, 6, [2, 2])
    assert linear == 2 * 160 * 10
    # 4 x 4 operations a key: 6 tokens see 3 keys in the mean, the 4 of the questions 6 + 1.
    assert attention == 16 * (6 * 3 + 4 * 7)
    assert forward_backward(10, 5, linear, attention) == 2 * linear + 3 * attention + 6 * 5 * 10


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    """The allocator's own error, raised as it raises it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_timing import largest_that_fits

    tried = []

    def needs_room(size):
        tried.append(size)
        if size > 5:
            raise torch.OutOfMemoryError("out of memory")

    assert largest_that_fits(needs_room, 18) == 4
    assert tried == [18, 9, 4]
    with pytest.raises(torch.OutOfMemoryError):
        largest_that_fits(lambda size: needs_room(size + 5), 2)
