"""The store of scores is killed, damaged, filled up and asked for something else; it keeps what it has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from concept_icd.artifacts import hash_of, read_json, read_manifest
from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.scorer import NoteFailure, NoteScores
from concept_icd.scoring.store import Job, _locked, fill_store, load_scores, read_failures, read_shard
from tests.conftest import ROOT
from tests.fitted_coder import CODES, make_notes

SETTINGS = {"model": "llama", "out_of_fold": True}
NOTES = make_notes(60, 0, "note")


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


def test_without_anything_missing_no_model_is_loaded(copy, whole, llama):
    (copy / "manifest.json").unlink()
    fill(copy, Path("no-such-model"))
    assert same(copy, whole)


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:300] + bytes([content[300] ^ 0xFF]) + content[301:],
    "emptied": lambda content: b"",
    "text": lambda content: b"not Parquet",
}


@pytest.mark.parametrize("damage", [*DAMAGES, "neighbour", "other weights", "gone"])
def test_a_damaged_shard_is_found_and_only_it_is_scored_again(copy, whole, llama, tmp_path, damage):
    victim, neighbour = shards_of(copy)[2:4]
    if damage in DAMAGES:
        victim.write_bytes(DAMAGES[damage](victim.read_bytes()))
    elif damage == "neighbour":
        shutil.copy(neighbour, victim)
    elif damage == "other weights":  # the same notes in the same place, from a store with other settings
        fill(tmp_path / "other", llama, weights="others")
        shutil.copy(tmp_path / "other" / "shards" / victim.name, victim)
    else:
        victim.unlink()
    with pytest.raises(InputError, match=r"00002\.parquet is missing or damaged: run the same"):
        load_scores(copy)
    before = {path: path.stat().st_mtime_ns for path in shards_of(copy) if path != victim}
    assert fill(copy, llama)  # the store is complete, and is mended all the same
    assert same(copy, whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_no_flipped_byte_changes_a_score(whole, tmp_path):
    """A byte that holds no content (a statistic, a name of the writer) may be flipped unseen; a score may not."""
    content, identity = shards_of(whole)[2].read_bytes(), hash_of(read_json(whole / "scoring.json"))
    sound = read_shard(shards_of(whole)[2], 2, identity)
    seen, path = 0, tmp_path / "00002.parquet"
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        if (found := read_shard(path, 2, identity)) is None:
            seen += 1
        else:
            assert found.equals(sound)
    assert seen > 100


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


def test_a_note_that_fails_is_kept_with_its_reason_and_does_not_stop_the_run(llama, tmp_path):
    """Two ways to fail: the scorer says so of one note, or breaks off at one."""

    class Choosy:
        def __init__(self) -> None:
            self.scorer = PackedScorer.from_pretrained(llama)

        def iter_scores(self, notes, concepts, plan) -> Iterator[NoteScores | NoteFailure]:
            for note in notes:
                if note.note_id == "note-3":
                    yield NoteFailure("note-3", "it is choosy")
                elif note.note_id == "note-5":
                    raise InputError("it broke off")
                else:
                    yield from self.scorer.iter_scores([note], concepts, plan)

    def attempt() -> bool:
        jobs = [Job("choosy", [*NOTES[:8], Note("blank", "")], Choosy)]
        return fill_store(tmp_path / "s", jobs, concept_set(), PromptTemplate.load(), settings=SETTINGS, shard_notes=3)

    assert attempt()
    reasons = {"blank": "the note is empty", "note-3": "it is choosy", "note-5": "it broke off"}
    assert read_failures(tmp_path / "s") == reasons
    scores = load_scores(tmp_path / "s")
    assert list(scores.note_ids) == [f"note-{i}" for i in (0, 1, 2, 4, 6, 7)]
    shards_of(tmp_path / "s")[0].unlink()
    (tmp_path / "s" / "failures.json").unlink()
    assert attempt()  # the reasons are in the shards too
    assert read_failures(tmp_path / "s") == reasons
    assert load_scores(tmp_path / "s").logits.tobytes() == scores.logits.tobytes()


def test_what_befalls_any_note_stops_the_run_and_binds_nothing(llama, tmp_path):
    def attempt(make) -> None:
        jobs = [Job("all", NOTES[:20], make)]
        fill_store(tmp_path / "s", jobs, concept_set(), PromptTemplate.load(), settings=SETTINGS, shard_notes=8)

    with pytest.raises(InputError, match=r"no note can be scored: a question of \d+ tokens leaves no room"):
        attempt(lambda: PackedScorer.from_pretrained(llama, max_length=40))
    assert not (tmp_path / "s").exists()

    class Dying:
        """The model of a server that goes away after twelve notes."""

        left = 12

        def __init__(self) -> None:
            self.scorer = PackedScorer.from_pretrained(llama)

        def iter_scores(self, notes, concepts, plan) -> Iterator[NoteScores | NoteFailure]:
            for record in self.scorer.iter_scores(notes, concepts, plan):
                if self.left == 0:
                    raise InputError("the server has gone")
                self.left -= 1
                yield record

    with pytest.raises(InputError, match="the server has gone"):
        attempt(Dying)
    assert len(shards_of(tmp_path / "s")) == 1  # the second shard was not whole, and no note is a failure
    attempt(lambda: PackedScorer.from_pretrained(llama))
    assert read_failures(tmp_path / "s") == {}
    assert len(load_scores(tmp_path / "s")) == 20


def test_a_plan_asks_a_part_and_the_rest_is_filled(llama, tmp_path):
    class EveryThird:
        hash = "every third"

        def __init__(self, concepts: int) -> None:
            self.fill = np.linspace(-9, -8, concepts, dtype=np.float32)

        def rounds(self, note: Note):
            first = yield np.arange(0, len(self.fill), 3)
            if first[0] > 0:
                yield np.array([1])

    plan, concepts, make = EveryThird(len(concept_set())), concept_set(), lambda: PackedScorer.from_pretrained(llama)
    arguments = (concepts, PromptTemplate.load())
    jobs = [Job("all", NOTES[:12], make)]
    fill_store(tmp_path / "s", jobs, *arguments, settings=SETTINGS, shard_notes=5, plan=plan)
    found, dense = load_scores(tmp_path / "s"), make().score(NOTES[:12], concepts)
    assert found.asked.shape == found.logits.shape == dense.logits.shape
    asked = found.asked.toarray()
    for row, note_id in enumerate(found.note_ids):
        expected = dense.select([note_id]).logits[0]
        went_on = expected[0] > 0
        assert set(np.flatnonzero(asked[row])) == {*range(0, len(concepts), 3), *([1] if went_on else [])}
        np.testing.assert_allclose(found.logits[row][asked[row]], expected[asked[row]], atol=1e-4)
        np.testing.assert_array_equal(found.logits[row][~asked[row]], plan.fill[~asked[row]])
    assert 0 < asked[:, 1].sum() < 12
    part = found.select(found.note_ids[3:5])
    np.testing.assert_array_equal(part.asked.toarray(), asked[3:5])
    with pytest.raises(InputError, match=r"other settings \(plan\)"):
        fill_store(tmp_path / "s", jobs, *arguments, settings=SETTINGS, shard_notes=5)


def test_two_processes_are_kept_apart_and_a_killed_one_leaves_no_lock(copy, whole, llama):
    shards_of(copy)[1].unlink()
    script = "import sys; from concept_icd.scoring.store import _locked; from pathlib import Path\n"
    script += "with _locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        before = sorted(copy.rglob("*"))
        with pytest.raises(InputError, match="another process is filling") as told:
            fill(copy, llama)
        assert str(copy) in str(told.value)
        assert sorted(copy.rglob("*")) == before
        os.kill(other.pid, signal.SIGKILL)
    fill(copy, llama)
    assert same(copy, whole)


def test_a_reader_needs_no_lock(copy):
    code = f"from concept_icd.scoring.store import load_scores; assert len(load_scores({str(copy)!r})) == 60"
    with _locked(copy):
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


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


MANIFESTS = {
    "cut short": lambda text: text[:200],
    "empty": lambda _: "",
    "a list": lambda _: "[]",
    "too deep": lambda _: "[" * 200_000,
    "fewer shards": lambda text: text.replace('"shards": 8', '"shards": 1'),
    "other settings": lambda text: text.replace('"model": "llama"', '"model": "other"'),
    "no config": lambda text: text.replace('"config"', '"confing"'),
    "another stage": lambda text: text.replace('"score"', '"prepare"'),
}


@pytest.mark.parametrize("damage", MANIFESTS.values(), ids=MANIFESTS)
def test_the_same_command_mends_a_manifest(copy, llama, damage):
    manifest = copy / "manifest.json"
    manifest.write_text(damage(manifest.read_text()))
    with pytest.raises(InputError):  # in one sentence, with what mends it
        load_scores(copy)
    shards = {path: path.stat().st_mtime_ns for path in shards_of(copy)}
    assert fill(copy, llama)
    assert {path: path.stat().st_mtime_ns for path in shards_of(copy)} == shards
    assert len(load_scores(copy)) == 60
    assert not fill(copy, llama)


@pytest.mark.parametrize("name", ["scoring.json", "failures.json"])
@pytest.mark.parametrize("text", ["", "[]", '{"a":', "[" * 200_000, None])
def test_the_same_command_mends_settings_and_failures(copy, llama, name, text):
    (copy / name).unlink() if text is None else (copy / name).write_text(text)
    before = read_json(copy / "manifest.json")["config"]
    fill(copy, llama)
    assert read_json(copy / "scoring.json") == before
    assert read_failures(copy) == {}
    assert len(load_scores(copy)) == 60


def test_damaged_settings_do_not_let_other_scores_in(copy, llama):
    (copy / "scoring.json").write_text("[]")
    with pytest.raises(InputError, match="the shards are of other settings"):
        fill(copy, llama, other=True)
    assert len(shards_of(copy)) == 8


def test_a_folder_of_something_else_is_no_store(llama, tmp_path):
    for name in (".mine-1", "thesis.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="did not write"):
        fill(tmp_path, llama)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine-1", "thesis.txt"]


def test_a_store_is_its_users_alone(whole):
    modes = {path.stat().st_mode & 0o777 for path in whole.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (whole, whole / "shards")} == {0o700}
