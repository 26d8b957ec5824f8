"""The client against a real vLLM server on loopback."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.records import Note
from concept_icd.scoring import server as module
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.server import ServerScorer
from tests.scoring.test_packed import CONCEPTS, NOTES
from tests.scoring.vllm.test_vllm import AskAgain, same

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` has it")
pytestmark = pytest.mark.slow


def start(model: Path, adapter: Path, folder: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """A server of a model and an adapter, when it answers; its log is in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    off = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command += ["--block-size", "32", "--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"tuned={adapter}"]
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        [*command, *options], stdout=log, stderr=subprocess.STDOUT, env=os.environ | off, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return process, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(1)
        finally:
            connection.close()
    stop(process)
    raise RuntimeError((folder / "server.log").read_text()[-3000:])


def stop(process: subprocess.Popen) -> None:
    """Ends the server and its engine, which is a process of its own in the same group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass
class Running:
    process: subprocess.Popen
    url: str
    log: Path


@pytest.fixture(scope="module")
def server(llama, llama_adapter, tmp_path_factory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    process, url = start(llama, llama_adapter, folder, "--max-model-len", "400", "--enable-prompt-tokens-details")
    yield Running(process, url, folder / "server.log")
    stop(process)


@pytest.fixture
def url(server: Running) -> str:
    return server.url


@pytest.mark.parametrize("tuned", [False, True])
def test_scores_equal_the_packed_scorers(url, llama, llama_adapter, tuned):
    adapter = llama_adapter if tuned else None
    scores = ServerScorer.from_pretrained(llama, adapter, url=url).score(NOTES, CONCEPTS)
    same(scores, PackedScorer.from_pretrained(llama, adapter).score(NOTES, CONCEPTS))


def test_an_adapter_goes_by_its_served_name_too(url, llama, llama_adapter):
    expected = ServerScorer.from_pretrained(llama, llama_adapter, url=url).score(NOTES, CONCEPTS)
    for by_name in ({"adapter": "tuned"}, {"served": "tuned"}):
        found = ServerScorer.from_pretrained(llama, **by_name, url=url + "/v1/").score(NOTES, CONCEPTS)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)


def test_a_long_note_is_cut_to_the_servers_window(url, llama, llama_adapter):
    """The server's longest prompt leaves a token for the answer."""
    notes = [Note("long", "cough and fever. " * 400), NOTES[1]]
    scores = ServerScorer.from_pretrained(llama, llama_adapter, url=url).score(notes, CONCEPTS)
    same(scores, PackedScorer.from_pretrained(llama, llama_adapter, max_length=399).score(notes, CONCEPTS))
    assert scores.truncated[0] is not None


def test_many_requests_at_once_and_rounds_of_a_plan(url, llama, llama_adapter, monkeypatch):
    monkeypatch.setattr(module, "REQUEST_TOKENS", 150)  # a request then holds a prompt or two
    notes = [*NOTES, *(Note(f"n{i}", "fever " * i + "cough") for i in range(9))]
    packed = PackedScorer.from_pretrained(llama, llama_adapter)
    expected = {s.note_id: s for s in packed.iter_scores(notes, CONCEPTS.concepts, AskAgain())}
    scorer = ServerScorer.from_pretrained(llama, llama_adapter, concurrency=3, url=url)
    found = {s.note_id: s for s in scorer.iter_scores(notes, CONCEPTS.concepts, AskAgain())}
    assert set(found) == set(expected)
    for note_id, scores in found.items():
        assert scores.asked.tolist() == expected[note_id].asked.tolist()
        np.testing.assert_allclose(scores.logits, expected[note_id].logits, atol=1e-4)


def test_the_note_is_read_once(url, llama, llama_adapter):
    scorer = ServerScorer.from_pretrained(llama, llama_adapter, url=url)
    (scores,) = scorer.iter_scores([Note("fresh", "wheezing and asthma and cough " * 15)], CONCEPTS.concepts)
    assert scores.reused > scores.computed


def test_a_server_of_something_else_is_one_sentence(url, llama, qwen3_adapter, tmp_path):
    with pytest.raises(InputError, match=r"does not serve the adapter .*--lora-modules"):
        ServerScorer.from_pretrained(llama, qwen3_adapter, url=url)
    with pytest.raises(InputError, match=r"serves no model 'tunde'.*did you mean 'tuned'"):
        ServerScorer.from_pretrained(llama, served="tunde", url=url)
    with pytest.raises(InputError, match="another tokenizer"):
        ServerScorer.from_pretrained("tiny", url=url)


def test_no_server_is_one_sentence(llama, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.01)
    with pytest.raises(InputError, match=r"cannot be reached .*run the same command again"):
        ServerScorer.from_pretrained(llama, url="http://127.0.0.1:9")
    with pytest.raises(InputError, match="no address"):
        ServerScorer.from_pretrained(llama, url="localhost:8000")


def test_a_server_that_dies_stops_the_run(server, llama, llama_adapter, monkeypatch):
    """Killed between two groups of notes: what was yielded stays. No text of a note is in the log. The last test."""
    monkeypatch.setattr(module, "WAIT", 0.01)
    notes = [Note(f"n{i}", f"fever {i} zebra") for i in range(8)]
    scorer = ServerScorer.from_pretrained(llama, llama_adapter, concurrency=1, url=server.url)
    stream = scorer.iter_scores(notes, CONCEPTS.concepts)
    first = [next(stream) for _ in range(4)]
    stop(server.process)
    with pytest.raises(InputError, match="cannot be reached"):
        next(stream)
    assert [scores.note_id for scores in first] == ["n0", "n1", "n2", "n3"]
    assert server.log.stat().st_size > 0
    assert "zebra" not in server.log.read_text()
