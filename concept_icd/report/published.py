"""Published rows beside ours, and only where they may stand beside it: same label set, same numbers of stays.

"MIMIC-III-50" is the name of several benchmarks: label sets that were counted after leading zeros got lost, sets of an
author's own, "enhanced" sets with five times the training stays. A comparison across them is refused, in a sentence
that says what differs. The figures are data, in published.yaml.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from concept_icd.corpora.mimic3.tasks import find_task


@dataclass(frozen=True)
class PublishedRow:
    """A system's published figures on one benchmark.

    Attributes:
        figures: metric -> value in 0..1, by the names of this package's metrics. source: paper or repository.
        known: in words, where the figures were read. threshold: what codes were accepted at, where that is known.
        caveat: what a reader must know. differs: why the row is of another benchmark of the same name.
        filtered: the figures leave out codes without a gold example in the test notes (Edin et al. 2023).
    """

    system: str
    year: int
    figures: Mapping[str, float]
    source: str
    known: str
    threshold: str | None = None
    caveat: str | None = None
    differs: str | None = None
    filtered: bool = False


@dataclass(frozen=True)
class Benchmark:
    """What published rows of a task were measured on. `train`: the numbers of training stays that papers print."""

    train: tuple[int, ...]
    test: int
    labels: int
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Comparison:
    """The rows that may stand beside a result, or in one sentence why there are none.

    Attributes:
        left_out: sentences about rows of the same name that are of another benchmark.
    """

    task: str
    rows: tuple[PublishedRow, ...] = ()
    left_out: tuple[str, ...] = ()
    refusal: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What `results.json` holds as `extra["published"]`."""
        return dataclasses.asdict(self)


def published_rows(task: str, label_set: Collection[str], train_stays: int | None, test_stays: int) -> Comparison:
    """The published rows of a task, if a result was measured on its label set, training stays and test stays.

    Args:
        task: a name of `mimic3.tasks.TASKS`. label_set: the labels measured over. train_stays: None: not known.

    Raises:
        InputError: no such task.
    """
    fixed = find_task(task).codes
    benchmark = published_benchmarks().get(task)
    if benchmark is None:
        return Comparison(task, refusal=f"no published rows: nothing is published on {task}")
    differences = [
        _label_difference(label_set, fixed, benchmark.labels),
        "how many training stays there were is not known"
        if train_stays is None
        else _count_difference("training stays", train_stays, benchmark.train),
        _count_difference("test stays", test_stays, (benchmark.test,)),
    ]
    if any(differences):
        return Comparison(task, refusal=f"no published rows: {'; '.join(filter(None, differences))}")
    left_out = tuple(f"{row.system} {row.year} is left out: {row.differs}" for row in benchmark.rows if row.differs)
    return Comparison(task, tuple(row for row in benchmark.rows if not row.differs), left_out)


def _label_difference(labels: Collection[str], fixed: Collection[str] | None, count: int) -> str:
    """A set that is counted from the data, as that of MIMIC-III-full is, can be checked by its size alone."""
    if len(labels) != count:
        return f"{len(labels):,} labels here, {count:,} there"
    if fixed is not None and set(labels) != set(fixed):
        return f"another label set, {len({*labels} & {*fixed})} of {count} labels are the same"
    return ""


def _count_difference(what: str, here: int, there: tuple[int, ...]) -> str:
    return "" if here in there else f"{here:,} {what} here, {' or '.join(f'{count:,}' for count in there)} there"


@cache
def published_benchmarks() -> Mapping[str, Benchmark]:
    """Task name -> what is published on it, the older rows first."""
    import yaml

    data = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    return {
        task: Benchmark(
            tuple(entry["train"]),
            entry["test"],
            entry["labels"],
            tuple(sorted((_row(row, data["known"]) for row in entry["rows"]), key=lambda row: row.year)),
        )
        for task, entry in data["benchmarks"].items()
    }


def _row(row: dict[str, Any], known: Mapping[str, str]) -> PublishedRow:
    figures = {metric: round(percent / 100, 6) for metric, percent in row["figures"].items()}
    return PublishedRow(**(row | {"figures": figures, "known": known[row["known"]]}))
