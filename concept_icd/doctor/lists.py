"""The admission lists: which tasks they are there for, and where the others are published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from concept_icd.doctor.findings import Finding, State
from concept_icd.errors import InputError
from concept_icd.mimic3.splits import LAYOUTS, published, published_in_words, read_splits
from concept_icd.mimic3.tasks import TASKS, Task

SECTION = "admission lists"


def examine_lists(folder: Path | None, task: Task | None) -> list[Finding]:
    """The lists of one task, or of all; those that are absent are missing only where a task asks for them."""
    if task is not None and task.lists is None:
        return [Finding(SECTION, "ok", f"{task.name} needs no admission lists")]
    state: State = "missing" if task else "warning"
    findings = []
    for wanted in [task] if task else _one_a_list(TASKS.values()):
        assert wanted.lists is not None
        mend = f"get {LAYOUTS[wanted.lists][0].origin} and name the folder with --splits-dir"
        if folder is None:
            findings.append(Finding(SECTION, state, f"{wanted.name} needs its published admission lists", mend))
            continue
        try:
            splits = read_splits(folder, wanted)
        except InputError as error:
            findings.append(Finding(SECTION, state, str(error), mend))
            continue
        sizes = ", ".join(f"{name} {len(splits.ids(name)):,}" for name in ("train", "dev", "test"))
        sentence = published_in_words(splits, wanted.lists)
        same = all(published(splits, wanted.lists).values())
        findings.append(Finding(SECTION, "ok" if same else "warning", f"{wanted.name}: {sizes} stays. {sentence}"))
    return findings


def _one_a_list(tasks: Iterable[Task]) -> list[Task]:
    """The first task of each kind of lists."""
    return list({task.lists: task for task in reversed([task for task in tasks if task.lists])}.values())[::-1]
