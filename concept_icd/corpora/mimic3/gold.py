"""The gold labels of each stay for a task: which labels make its set, how each is spelled, which code it means.

The rules are in `labels`; here they meet the codes of the tables. It knows nothing of notes' texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.codes import Codes
from concept_icd.corpora.mimic3.labels import (
    aliases,
    exact_code,
    first_decimal_row,
    label_of_code,
    label_order,
    labels_seen_at_least,
    most_frequent_labels,
    published_label,
    stay_counts,
)
from concept_icd.corpora.mimic3.tasks import Task
from concept_icd.records import OneLine

if TYPE_CHECKING:
    import duckdb

#: The size of the recounted set of frequent codes, and in how many stays a code of the clean set is at least.
FREQUENT, CLEAN = 50, 10
#: HADM_ID -> labels in billing order, without repeats.
Labels = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, repr=False)
class Gold(OneLine):
    """The labels of a task.

    Attributes:
        label_set: diagnoses first; None: every code is a label. aliases: label -> the code that it means.
        diagnoses, procedures: HADM_ID -> its labels of the set, in billing order.
        shared: label -> the codes that it is given to, where they are several.
    """

    label_set: tuple[str, ...] | None
    aliases: Mapping[str, str]
    diagnoses: Labels
    procedures: Labels
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, stay: str) -> tuple[str, ...]:
        """The labels of a stay: diagnoses in order, then procedures in order."""
        return self.diagnoses.get(stay, ()) + self.procedures.get(stay, ())


def gold_labels(
    task: Task,
    codes: Codes,
    stays: Collection[str],
    listed: Collection[str],
    connection: duckdb.DuckDBPyConnection,
) -> Gold:
    """The label set of a task, and the labels of every stay.

    Args:
        stays: those that the rules count (a summary and a code). listed: those of them in the task's lists.
        connection: holds the tables; the published spelling depends on a row's place in its file.
    """
    if task.codes is not None:
        return _relabelled(codes, task.codes, label_of_code(task), task.aliases)
    if task.spelling == "published":
        return _as_published(codes, listed, connection)
    if task.name == "mimic3-50-recounted":
        label_set = most_frequent_labels((codes.of(stay) for stay in stays), FREQUENT)
    elif task.name == "mimic3-clean":
        label_set = labels_seen_at_least(stay_counts(codes.of(stay) for stay in stays), CLEAN)
    elif task.lists is not None:
        label_set = label_order({code for stay in listed for code in codes.of(stay)})
    else:
        return Gold(None, {}, codes.diagnoses.by_stay, codes.procedures.by_stay)
    return _relabelled(codes, label_set, {code: code for code in label_set}, {})


def _relabelled(
    codes: Codes, label_set: Sequence[str], label_of: Mapping[str, str], meanings: Mapping[str, str]
) -> Gold:
    """Gold by the code that a label means; codes without a label are left out."""

    def labels(by_stay: Labels) -> Labels:
        return {stay: tuple(label_of[code] for code in own if code in label_of) for stay, own in by_stay.items()}

    return Gold(tuple(label_set), meanings, labels(codes.diagnoses.by_stay), labels(codes.procedures.by_stay))


def _as_published(codes: Codes, listed: Collection[str], connection: duckdb.DuckDBPyConnection) -> Gold:
    pairs = dict(_published_procedures(codes, connection))
    counts = Counter(pair for stay in listed for pair in pairs.get(stay, ()))
    counts.update((code, code) for stay in listed for code in codes.diagnoses.by_stay.get(stay, ()))
    procedures = {stay: tuple(dict.fromkeys(label for label, _ in own)) for stay, own in pairs.items()}
    label_set = label_order({label for label, _ in counts})
    meanings: dict[str, list[str]] = {}
    for label, code in sorted(counts):
        meanings.setdefault(label, []).append(code)
    shared = {label: tuple(own) for label, own in meanings.items() if len(own) > 1}
    return Gold(label_set, aliases(counts), codes.diagnoses.by_stay, procedures, shared)


def _published_procedures(
    codes: Codes, connection: duckdb.DuckDBPyConnection
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """HADM_ID and its (label, code) pairs, of every stay with a summary; see `labels` on rows and decimal numbers."""
    of_stays_with_summary = "WHERE hadm_id IN (SELECT hadm_id FROM summaries)"
    (diagnosis_rows,) = connection.execute(f"SELECT count(*) FROM diagnoses_icd {of_stays_with_summary}").fetchall()[0]
    first_decimal = first_decimal_row(diagnosis_rows) - diagnosis_rows
    rows = connection.execute(f"""
        SELECT hadm_id, code, row_number() OVER (ORDER BY rowid) > {first_decimal} AS as_decimal, place, rowid
        FROM procedures_icd {of_stays_with_summary}
        ORDER BY hadm_id, place NULLS LAST, rowid
    """).fetchall()
    odd = codes.procedures.odd

    @cache
    def pair(raw: str, as_decimal: bool) -> tuple[str, str]:
        return published_label(raw, "procedure", as_decimal=as_decimal), exact_code(raw, "procedure")

    for stay, group in groupby(rows, key=itemgetter(0)):
        yield stay, tuple(dict.fromkeys(pair(raw, decimal) for _, raw, decimal, *_ in group if raw and raw not in odd))
