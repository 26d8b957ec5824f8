"""The MIMIC-III benchmarks by name: which stays, which label set, how labels are spelled, and the published counts.

It knows published facts about codes and counts. It holds no admission ids and reads no tables. The rules that turn
tables into label sets are in `labels`, the admission lists in `splits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from concept_icd.errors import InputError, did_you_mean

Spelling = Literal["exact", "published"]
Lists = Literal["caml-50", "caml-full", "kept-rare50", "edin-clean"]


@dataclass(frozen=True)
class Task:
    """A benchmark that `concept-icd prepare mimic3 --task NAME` makes.

    Attributes:
        title: how papers call it.
        lists: the admission lists it needs, see `splits`; None: every stay, no splits.
        spelling: "exact" keeps a procedure's zeros (04.07, 93.90), "published" is CAML's (40.7, 93.9); see `labels`.
        rule: in words, where the label set comes from.
        codes: the fixed label set (diagnoses first, each kind sorted), or None where it is counted.
        aliases: label -> the code that it means, for fixed labels that are spelled unlike it.
        stays: published number of stays with a code in "train", "dev" and "test"; empty where nothing is published.
        labels: published size of the label set; None: not published, or not verified.
        source: where the numbers come from.
    """

    name: str
    title: str
    lists: Lists | None
    spelling: Spelling
    rule: str
    codes: tuple[str, ...] | None
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    stays: Mapping[str, int] = field(default_factory=dict, hash=False)
    labels: int | None = None
    source: str = ""


def labels_of(strings: Iterable[str]) -> tuple[str, ...]:
    """The labels of a published label file: `a;b` is two labels, repeats and blanks are dropped, order is kept.

    >>> labels_of(["34.71;34.71", " 40.7 ;52.0", ""])
    ('34.71', '40.7', '52.0')
    """
    labels = (label.strip() for string in strings for label in string.split(";"))
    return tuple(dict.fromkeys(label for label in labels if label))


def _codes(diagnoses: str, procedures: str) -> tuple[str, ...]:
    return (*diagnoses.split(), *procedures.split())


MIMIC3_50 = _codes(
    diagnoses="""
        038.9 244.9 250.00 272.0 272.4 276.1 276.2 285.1 285.9 287.5 305.1 311 401.9 403.90 410.71 412 414.01 424.0
        427.31 428.0 486 496 507.0 511.9 518.81 530.81 584.9 585.9 599.0 995.92 V15.82 V45.81 V58.61
    """,
    procedures="33.24 36.15 37.22 37.23 38.91 38.93 39.61 39.95 45.13 88.56 88.72 96.04 96.6 96.71 96.72 99.04 99.15",
)

RARE50 = _codes(
    diagnoses="""
        148.1 171.0 176.0 202.82 252.08 270.6 282.2 318.2 338.28 351.9 362.11 378.52 447.9 453.50 477.8 506.0 512.2
        550.11 569.42 596.89 607.82 701.0 710.8 719.49 737.43 747.69 780.94 785.9 790.8 813.32 816.02 873.52 955.1
        955.3 958.91 959.7 990 998.01 999.82 V10.61 V18.3 V26.52 V65.3
    """,
    procedures="17.36 34.71 38.47 40.7 52.0 53.02 77.7",
)

# Numbers of stays: lines of the published lists, which Edin et al. 2023 ship again. CAML's train_full has 47,723, of
# which Edin's copy leaves out the 4 stays without any code; nothing in the lists stands twice.
_CAML = "Mullenbach et al. 2018 (CAML): admission lists and notebook of its repository"
_CAML_FULL = f"{_CAML}; papers print 47,723 training stays, 4 of them have no code"
_STAYS_50 = {"train": 8066, "dev": 1573, "test": 1729}
_STAYS_FULL = {"train": 47719, "dev": 1631, "test": 3372}

_TASKS = (
    Task(
        "mimic3-50",
        "MIMIC-III-50",
        "caml-50",
        "published",
        "the fixed 50 labels of CAML: the most frequent of all rows of stays with a summary",  # printed in its notebook
        MIMIC3_50,
        stays=_STAYS_50,
        labels=50,
        source=_CAML,
    ),
    Task(
        "mimic3-50-recounted",
        "MIMIC-III-50, recounted",
        "caml-50",
        "exact",
        "the 50 codes that most stays with a summary have, each counted once a stay, spelled exactly; the stays of the "
        "published lists, even the few that have none of these codes",
        None,
        stays=_STAYS_50,
        labels=50,
        source=_CAML,
    ),
    Task(
        "mimic3-rare50",
        "MIMIC-III-rare50",
        "kept-rare50",
        "published",
        "the fixed 50 rare labels of KEPT, inside the lists of CAML-full",
        RARE50,
        # The one billable code each that yields the label, see `labels`: 40.7 lost a leading zero; 52.0 was raw 0052,
        # then "52.", then a decimal number; 77.7 lost its last zero. 05.20 and 07.77 are no codes. KEPT names none.
        aliases={"40.7": "04.07", "52.0": "00.52", "77.7": "77.70"},
        stays={"train": 249, "dev": 20, "test": 142},
        labels=50,
        source="Yang et al. 2022 (KEPT): ids and labels of its repository",
    ),
    Task(
        "mimic3-full",
        "MIMIC-III-full",
        "caml-full",
        "published",
        "every code of the listed stays, procedures spelled as two readings as numbers left them (see labels)",
        None,
        stays=_STAYS_FULL,
        labels=8922,
        source=_CAML_FULL,
    ),
    Task(
        "mimic3-full-recounted",
        "MIMIC-III-full, recounted",
        "caml-full",
        "exact",
        "every code of the listed stays, spelled exactly",
        None,
        stays=_STAYS_FULL,
        # Not verified. The 9,017 that circulate are the codes of both whole tables (6,985 + 2,032), all stays included.
        labels=None,
        source=_CAML_FULL,
    ),
    Task(
        "mimic3-clean",
        "MIMIC-III clean",
        "edin-clean",
        "exact",
        "codes of at least 10 of the stays that have a summary and a code, spelled exactly",
        None,
        stays={"train": 38401, "dev": 5577, "test": 8734},
        labels=3681,  # the labels of its released PLM-ICD checkpoint (target2index.json)
        source="Edin et al. 2023: splits, preprocessing and checkpoints of its repository",
    ),
    Task("mimic3-tables", "MIMIC-III tables, without notes", None, "exact", "every code of every stay", None),
)

#: Name -> task, in the order in which help lists them.
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _TASKS})


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
        InputError: there is none.
    """
    if name not in TASKS:
        raise InputError(f"no task {name!r}{did_you_mean(name, TASKS)}; tasks: {', '.join(TASKS)}")
    return TASKS[name]
