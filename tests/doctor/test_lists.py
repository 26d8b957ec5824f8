"""The admission lists: found, absent, and not the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.tasks import TASKS
from concept_icd.doctor.data import examine_lists


def test_the_published_lists_are_recognised(shared_data: Path) -> None:
    findings = examine_lists(shared_data / "mimic3_splits", None)
    assert [finding.state for finding in findings] == ["ok"] * 4
    assert findings[0].text.startswith("mimic3-50: train 8,066, dev 1,573, test 1,729 stays.")


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.lists])
def test_absent_lists_say_where_they_are_published(name: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        (finding,) = examine_lists(folder, TASKS[name])
        assert finding.state == "missing"
        assert "github" in str(finding.mend).lower()


def test_a_task_without_lists_needs_none() -> None:
    assert [finding.state for finding in examine_lists(None, TASKS["mimic3-tables"])] == ["ok"]


def test_other_lists_are_a_warning(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "dev", "test")):
        (tmp_path / f"{split}_50_hadm_ids.csv").write_text(f"{100 + number}\n", encoding="utf-8")
    (finding,) = examine_lists(tmp_path, TASKS["mimic3-50"])
    assert finding.state == "warning"
    assert "train 1, dev 1, test 1 stays" in finding.text


def test_a_damaged_list_is_missing(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}_50_hadm_ids.csv").write_text("12x\n", encoding="utf-8")
    assert examine_lists(tmp_path, TASKS["mimic3-50"])[0].state == "missing"
