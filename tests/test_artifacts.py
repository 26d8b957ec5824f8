"""Nothing of a user's is lost: what an output may replace, and who may read what is written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from concept_icd import artifacts
from concept_icd.artifacts import read_manifest, write_json
from concept_icd.errors import InputError
from concept_icd.outputs import MANIFEST, begun_folder, new_file, new_folder, private_files, reading


def written(folder: Path, stage: str = "prepare", content: str = "old") -> Path:
    """A folder as a stage leaves it behind."""
    with new_folder(folder) as staging:
        write_json(staging / MANIFEST, {"stage": stage, "inputs": {}, "config": {}})
        (staging / "notes.parquet").write_text(content)
    return folder


def replace(folder: Path, stage: str = "prepare") -> None:
    with new_folder(folder, stage, overwrite=True) as staging:
        write_json(staging / MANIFEST, {"stage": stage, "inputs": {}, "config": {}})
        (staging / "notes.parquet").write_text("new")


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_a_folder_of_the_same_stage_is_replaced(tmp_path):
    replace(written(tmp_path / "out"))
    assert (tmp_path / "out" / "notes.parquet").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_followed_and_stays(tmp_path):
    written(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    replace(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "notes.parquet").read_text() == "new"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda out: (out / "thesis.txt").write_text("mine"),
        lambda out: (out / "deep" / "er").mkdir(parents=True) or (out / "deep" / "er" / "x").write_text("mine"),
        lambda out: (out / ".hidden").write_text("mine"),
        lambda out: (out / "elsewhere").symlink_to("/"),
        lambda out: (out / MANIFEST).unlink(),
        lambda out: (out / MANIFEST).write_text('{"stage": "prep'),
        lambda out: (out / MANIFEST).write_text("[]"),
        lambda out: write_json(out / MANIFEST, {"stage": "fit", "inputs": {}, "config": {}}),
    ],
)
def test_what_the_stage_did_not_write_is_not_replaced(tmp_path, spoil):
    out = written(tmp_path / "out")
    spoil(out)
    before = everything(tmp_path)
    with pytest.raises(InputError, match="nothing was deleted"):
        replace(out)
    assert everything(tmp_path) == before


def test_a_file_is_no_folder_to_replace(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="no folder"):
        replace(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(("here", "named"), [(".", "."), (".", "inside/.."), (".", "../out"), ("inside", "..")])
def test_the_current_folder_and_what_lies_above_it_stay(tmp_path, monkeypatch, here, named):
    out = written(tmp_path / "out")
    (out / "inside").mkdir()
    monkeypatch.chdir(out / here)
    with pytest.raises(InputError, match="the current folder"):
        replace(Path(named))
    assert (out / "notes.parquet").read_text() == "old"


@pytest.mark.parametrize("named", ["notes.parquet", ".", "link"])
def test_a_folder_that_is_or_holds_an_input_stays(tmp_path, named):
    out = written(tmp_path / "out")
    (tmp_path / "link").symlink_to(out / "notes.parquet")
    given = tmp_path / "link" if named == "link" else out / named
    with reading([given, None, "no such file"]), pytest.raises(InputError, match="holds the input"):
        replace(out)
    assert (out / "notes.parquet").read_text() == "old"
    replace(out)  # outside the block it is no input


def test_a_failed_rename_loses_nothing(tmp_path, monkeypatch):
    out = written(tmp_path / "out")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if Path(target) == out and "-old-" not in str(self):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="No space left"):
        replace(out)
    assert (out / "notes.parquet").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_put_in_during_the_work_are_seen(tmp_path):
    out = written(tmp_path / "out")
    with pytest.raises(InputError, match=r"thesis\.txt"), new_folder(out, "prepare", overwrite=True):
        (out / "thesis.txt").write_text("mine")
    assert (out / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("other", ["copy", "hard", "soft", "folder/note.txt"])
def test_an_output_file_that_is_an_input_stays(tmp_path, other):
    (tmp_path / "folder").mkdir()
    for name in ("note.txt", "folder/note.txt"):
        (tmp_path / name).write_text("mine")
    os.link(tmp_path / "note.txt", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("note.txt")
    (tmp_path / "copy").symlink_to(tmp_path / "hard")
    with (
        reading([tmp_path / "note.txt", tmp_path / "folder"]),
        pytest.raises(InputError, match="is an input too"),
        new_file(tmp_path / other) as staging,
    ):
        staging.write_text("lost")
    assert (tmp_path / other).read_text() == "mine"
    with reading([tmp_path / "folder"]), new_file(tmp_path / "folder" / "new.json") as staging:
        staging.write_text("new")  # beside the notes, in nobody's place


def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no plain file"), new_file(tmp_path / "pipe"):
        pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_that_grows_is_the_stages_own(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "run.txt").write_text("mine")
    with pytest.raises(InputError, match="did not write"), begun_folder(mine, lambda: False):
        pass
    (mine / "run.json").write_text("{}")
    with begun_folder(mine, lambda: False):
        pass
    with (
        reading([mine / "run.txt"]),
        pytest.raises(InputError, match="holds the input"),
        begun_folder(mine, lambda: False),
    ):
        pass
    assert (mine / "run.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o600, 0o700), (0o000, 0o600, 0o700), (0o277, 0o400, 0o500)]
)
def test_what_is_written_is_the_users_alone_and_a_stricter_umask_holds(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "new" / "out") as staging:
            (staging / "part").mkdir()
            (staging / "part" / "notes.txt").write_text("text")
            (staging / "open").write_text("text")
            (staging / "open").chmod(0o666 & ~umask)
        with new_file(tmp_path / "new" / "file") as staging:
            staging.write_text("text")
    except PermissionError:
        pytest.skip("this umask leaves nothing to write, but for root")
    finally:
        os.umask(before)
    modes = {str(p.relative_to(tmp_path)): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert modes == {
        "new": folder,
        "new/out": folder,
        "new/out/part": folder,
        "new/out/part/notes.txt": file,
        "new/out/open": file,
        "new/file": file,
    }


def test_what_others_write_in_a_command_is_private_too(tmp_path):
    before = os.umask(0o022)
    try:
        with private_files():
            (tmp_path / "private").write_text("")
        (tmp_path / "open").write_text("")
        os.umask(0o177)
        with private_files():
            (tmp_path / "strict").write_text("")
        assert os.umask(0o022) == 0o177
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"private": 0o600, "open": 0o644, "strict": 0o600}


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "", "[1", "\ufeff"])
def test_json_that_is_none_is_one_sentence(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        artifacts.read_json(tmp_path / "x.json")


@pytest.mark.parametrize("content", [[], 1, {"stage": 1}, {"stage": "prepare", "config": []}])
def test_a_manifest_of_another_form_is_one_sentence(tmp_path, content):
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        read_manifest(tmp_path)


def test_an_entry_that_a_manifest_lacks_is_one_sentence(tmp_path):
    write_json(tmp_path / MANIFEST, {"stage": "prepare"})
    with pytest.raises(InputError, match="no 'config'"):
        read_manifest(tmp_path)["config"]
