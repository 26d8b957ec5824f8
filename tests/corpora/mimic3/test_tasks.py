"""The tasks' published facts, held against the files they were published in."""

from __future__ import annotations

from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.labels import label_order
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, RARE50, TASKS, Task, find_task, labels_of
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology


@pytest.fixture(scope="session")
def published(shared_data: Path) -> Path:
    folder = shared_data / "mimic3_splits"
    if not folder.is_dir():
        pytest.skip(f"the published lists are not at {folder}")
    return folder


def test_every_task_is_named_once_and_found_by_its_name() -> None:
    assert list(TASKS) == [
        "mimic3-50",
        "mimic3-50-recounted",
        "mimic3-rare50",
        "mimic3-full",
        "mimic3-full-recounted",
        "mimic3-clean",
        "mimic3-tables",
    ]
    assert all(find_task(name).name == name for name in TASKS)
    with pytest.raises(
        InputError, match=r"no task 'mimic3-rare' \(did you mean 'mimic3-rare50'\?\); tasks: mimic3-50,"
    ):
        find_task("mimic3-rare")


@pytest.mark.parametrize(
    ("labels", "file", "diagnoses"),
    [(MIMIC3_50, "top50_codes.txt", 33), (RARE50, "kept_rare50/rare50_codes.txt", 43)],
)
def test_a_fixed_label_set_is_the_published_one(
    published: Path, labels: tuple[str, ...], file: str, diagnoses: int
) -> None:
    lines = (published / file).read_text(encoding="utf-8").splitlines()
    assert labels_of(lines) == tuple(lines)
    assert set(labels) == set(lines)
    ontology = load_ontology()
    assert [ontology.kind(label) for label in labels] == ["diagnosis"] * diagnoses + ["procedure"] * (50 - diagnoses)


@pytest.mark.parametrize("labels", [MIMIC3_50, RARE50])
def test_a_fixed_label_set_has_fifty_labels_in_order(labels: tuple[str, ...]) -> None:
    assert len(set(labels)) == len(labels) == 50
    assert labels == label_order(labels)


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.codes], ids=lambda task: task.name)
def test_a_fixed_label_set_makes_a_concept_set_of_billable_codes(task: Task) -> None:
    ontology = load_ontology()
    assert task.codes is not None
    assert task.labels == len(task.codes)
    concepts = ConceptSet.expand(task.codes, ontology, aliases=task.aliases)
    assert set(concepts.aliases) == set(task.aliases)
    retired = [
        code for code in map(concepts.meaning, concepts.codes) if not ontology.billable(ontology.resolve(code).code)
    ]
    assert retired == []


def test_label_strings_are_split_and_repeats_dropped() -> None:
    assert labels_of(["34.71;34.71", "  40.7;52.0 ", "", "40.7;"]) == ("34.71", "40.7", "52.0")
    assert labels_of([]) == ()
