"""The store of scores is killed, damaged, filled up and asked for something else; it keeps what it has."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from concept_icd.artifacts import read_json, read_manifest
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.ontology import load_ontology
from concept_icd.prompts import PromptTemplate
from concept_icd.records import Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.scores import NoteScores
from concept_icd.scoring.store import Job, fill_store, load_scores, read_failures
from tests.fitted_coder import CODES, make_notes

SETTINGS = {"model": "llama", "out_of_fold": True}
NOTES = make_notes(60, 0, "note")
#: The same filling from a process of its own, slowed down after each shard so that it can be killed in time.
SCRIPT = """
import sys, time
from pathlib import Path
from tests.scoring import test_store
from concept_icd.scoring import store
write = store.write_shard
store.write_shard = lambda *arguments: (write(*arguments), time.sleep(0.3))
test_store.fill(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def concept_set() -> ConceptSet:
    return ConceptSet.expand(CODES, load_ontology("icd9cm"))


def fill(folder: Path, llama: Path, notes: list[Note] = NOTES, shard_notes: int = 8, **settings: object) -> bool:
    def make() -> PackedScorer:
        # Batches of a few notes, whose padding decides the last bits of a score.
        return PackedScorer.from_pretrained(llama, batch_tokens=1500)

    jobs = [Job("first", notes[:40], make), Job("second", notes[40:], make)]
    return fill_store(
        folder, jobs, concept_set(), PromptTemplate.load(), settings=SETTINGS | settings, shard_notes=shard_notes
    )


def shards_of(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.parquet"))


def same(one: Path, other: Path) -> bool:
    a, b = load_scores(one), load_scores(other)
    return a.note_ids == b.note_ids and a.truncated == b.truncated and a.logits.tobytes() == b.logits.tobytes()


@pytest.fixture(scope="module")
def whole(llama, tmp_path_factory) -> Path:
    """An uninterrupted run. Tests copy it before they do anything to it."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    fill(folder, llama)
    return folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "scores")
    return tmp_path / "scores"


def test_a_store_holds_every_note_once_in_the_order_of_their_ids(whole, llama):
    scores = load_scores(whole)
    assert list(scores.note_ids) == sorted(note.note_id for note in NOTES)
    assert scores.note_ids[:3] == ("note-0", "note-1", "note-10")
    assert (scores.concept_hash, scores.out_of_fold) == (concept_set().hash, True)
    assert len(shards_of(whole)) == 8  # 40 notes and 20 notes in eights
    alone = PackedScorer.from_pretrained(llama).score(NOTES, concept_set()).select(scores.note_ids)
    np.testing.assert_allclose(scores.logits, alone.logits, atol=1e-4)
    assert scores.logits.dtype == np.float32
    assert scores.logits.std() > 0.1


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(whole, llama, tmp_path):
    folder = tmp_path / "scores"
    for moment in (0, 1, 3, 6):  # shards that are there when the kill comes
        script = [sys.executable, "-c", SCRIPT, str(folder), str(llama)]
        with subprocess.Popen(script, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not (
                (folder / "scoring.json").is_file() and len(shards_of(folder)) >= moment
            ):
                time.sleep(0.01)
            assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGKILL)
        assert moment <= len(shards_of(folder)) < 8
        with pytest.raises(InputError, match="is not complete; run the same"):
            load_scores(folder)
    kept = {path: path.stat().st_mtime_ns for path in shards_of(folder)}
    (folder / "shards" / ".00007.parquet-99999").write_bytes(b"half a shard")
    fill(folder, llama)
    assert same(folder, whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert {path.name for path in folder.rglob("*")} == {path.name for path in whole.rglob("*")}


def test_without_anything_missing_no_model_is_loaded(copy, whole, llama):
    (copy / "manifest.json").unlink()
    fill(copy, Path("no-such-model"))
    assert same(copy, whole)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "swapped", "gone"])
def test_a_damaged_shard_is_found_and_only_it_is_scored_again(copy, whole, llama, damage):
    victim, neighbour = shards_of(copy)[2:4]
    content = bytearray(victim.read_bytes())
    if damage == "truncated":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 3] ^= 0xFF  # inside a column's data
        victim.write_bytes(content)
    elif damage == "swapped":
        victim.write_bytes(neighbour.read_bytes().replace(b"note-", b"eton-"))
    else:
        victim.unlink()
    with pytest.raises(InputError, match=r"00002\.parquet is missing or damaged: run the same"):
        load_scores(copy)
    before = {path: path.stat().st_mtime_ns for path in shards_of(copy) if path != victim}
    (copy / "manifest.json").unlink()
    fill(copy, llama)
    assert same(copy, whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "qwen"}, r"\(model\)"),
        ({"out_of_fold": False, "model": "qwen"}, r"\(model, out_of_fold\)"),
        ({"shard_notes": 9}, r"\(shard_notes\)"),
        ({"notes": NOTES[:59]}, r"\(notes\)"),
        ({"notes": [Note(note.note_id, note.text + " fever") for note in NOTES]}, r"\(notes\)"),
    ],
)
def test_a_store_is_not_resumed_with_something_else(copy, llama, changes, named):
    (copy / "manifest.json").unlink()
    content = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="other settings " + named):
        fill(copy, llama, **changes)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == content


def test_the_order_of_the_notes_is_no_setting(copy, whole, llama):
    (copy / "manifest.json").unlink()
    shards_of(copy)[0].unlink()
    fill(copy, llama, [*reversed(NOTES[:40]), *reversed(NOTES[40:])])
    assert same(copy, whole)


def test_a_complete_store_is_checked_and_left_as_it_is(copy):
    before = {path: path.stat().st_mtime_ns for path in (copy / "manifest.json", *shards_of(copy))}
    assert not fill(copy, Path("no-such-model"))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_cannot_be_scored_is_listed(llama, tmp_path):
    notes = [Note("blank", " \n"), Note("nul", "cough\0"), *NOTES[:4]]
    fill(tmp_path / "s", llama, notes)
    assert list(load_scores(tmp_path / "s").note_ids) == ["note-0", "note-1", "note-2", "note-3"]
    failures = read_failures(tmp_path / "s")
    assert failures["blank"] == "the note is empty"
    assert "NUL" in failures["nul"]
    assert read_manifest(tmp_path / "s", "score")["failures"] == 2
    fill(tmp_path / "none", llama, notes[:2])
    with pytest.raises(InputError, match="holds no scored note"):
        load_scores(tmp_path / "none")


def test_bad_input_before_the_first_score_leaves_nothing_and_binds_nothing(llama, tmp_path):
    with pytest.raises(InputError, match="cannot load the base model"):
        fill(tmp_path / "s", tmp_path / "none")
    assert not (tmp_path / "s").exists()
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match="cannot load the base model"):
        fill(tmp_path / "s", tmp_path / "none", model="none")
    fill(tmp_path / "s", llama, NOTES[:3])
    assert len(load_scores(tmp_path / "s")) == 3


def test_one_id_is_one_note(llama, tmp_path):
    with pytest.raises(InputError, match="two notes have the same id"):
        fill(tmp_path / "s", llama, [NOTES[0], Note("note-0", "something else")])
    assert not (tmp_path / "s").exists()


def test_truncation_is_kept(llama, tmp_path):
    fill(tmp_path / "s", llama, [Note("short", "cough"), Note("long", "cough and fever " * 500)])
    said = dict(zip(*(lambda s: (s.note_ids, s.truncated))(load_scores(tmp_path / "s")), strict=True))
    assert said["short"] is None
    assert "not read" in said["long"]


def test_a_full_disk_is_one_sentence_and_what_is_scored_stays(small_disk):
    """The scores are given: 20 notes a shard and 1,000 random floats a note are 80 kB a shard on a disk of 300 kB."""

    class Given:
        asked: list[str] = []  # noqa: RUF012

        def iter_scores(self, notes, concepts, plan):
            for note in notes:
                self.asked.append(note.note_id)
                seed = int(note.note_id.split("-")[1])
                yield NoteScores(note.note_id, np.random.default_rng(seed).normal(size=1000).astype(np.float32), None)

    def attempt() -> None:
        jobs = [Job("given", make_notes(100, 0, "note"), Given)]
        fill_store(small_disk / "s", jobs, concept_set(), PromptTemplate.load(), settings=SETTINGS, shard_notes=20)

    with pytest.raises(InputError, match=r"cannot write .*\.parquet: .*[Nn]o space left") as told:
        attempt()
    assert "\n" not in str(told.value)
    kept = shards_of(small_disk / "s")
    assert 1 <= len(kept) < 5
    assert not list((small_disk / "s" / "shards").glob(".*"))
    done = len(Given.asked)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    attempt()
    assert len(load_scores(small_disk / "s")) == 100
    assert len(Given.asked) - done == 100 - 20 * len(kept)
    assert read_json(small_disk / "s" / "failures.json") == {}
