"""How the codes of MIMIC-III's tables are spelled as labels, and which labels make a benchmark's set.

Pure functions of codes and counts; they read no tables. Two spellings exist. "Exact" is the code with its dot. The
published one is what the preprocessing of CAML (Mullenbach et al. 2018) left of it, and what most papers after it
inherited; a diagnosis is the same in both, a procedure went through numbers twice:

1. PROCEDURES_ICD was read as numbers: raw 0407 became 407, dotted 40.7; raw 0066 became 66, dotted "66.".
2. The dotted codes of all stays with a summary, diagnoses first, were written to one file and read again in blocks of
   131,072 rows, whose types were guessed block by block. A block of procedures alone became decimal numbers: "66."
   came back as 66.0 and 93.90 as 93.9. The block in which the diagnoses end stayed text.

So one code can have two labels: 93.90 has "93.90" and "93.9", each with a part of its stays. It would explain why
LAAT finds 93.90 among the 50 most frequent in place of CAML's 37.23. What is known: step 1 is the notebook of CAML's
repository, which also prints pandas' warning of mixed types at step 2; both labels of such codes are in the list of
all labels that PLM-ICD ships (ALL_CODES.txt: "17." and "17.0", "93.90" and "93.9", "96.70" and "96.7"); the size of a
block is pandas' for five columns. MIMIC-III itself was not at hand to count it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from concept_icd.corpora.mimic3.tasks import Task
from concept_icd.errors import InputError
from concept_icd.ontology.code_shapes import ICD9CM
from concept_icd.records import Kind

#: Rows that pandas' C reader types at once in a file of five columns: the largest power of two below 2**20 / 5.
BLOCK_ROWS = 131_072
_SHAPES = {shape.kind: shape for shape in ICD9CM}


def exact_code(raw: str, kind: Kind) -> str:
    """The dotted code of a cell of DIAGNOSES_ICD or PROCEDURES_ICD; zeros are kept, the code need not exist.

    A code that has its dot stays as it is.

    >>> exact_code("4019", "diagnosis"), exact_code("E8889", "diagnosis"), exact_code("0407", "procedure")
    ('401.9', 'E888.9', '04.07')

    Raises:
        InputError: it has not the shape of such a code.
    """
    code = raw.strip().upper()
    code = code if "." in code else _SHAPES[kind].add_dot(code)
    if not _SHAPES[kind].dotted.fullmatch(code):
        raise InputError(f"{raw!r} is no ICD-9-CM {kind} code")
    return code


def published_label(raw: str, kind: Kind, *, as_decimal: bool = False) -> str:
    """The label that CAML's preprocessing made of a cell, see the module's head.

    >>> published_label("0407", "procedure"), published_label("0066", "procedure"), published_label("9390", "procedure")
    ('40.7', '66.', '93.90')
    >>> published_label("0066", "procedure", as_decimal=True), published_label("9390", "procedure", as_decimal=True)
    ('66.0', '93.9')

    Args:
        as_decimal: the row stands in a block of procedures alone, see `first_decimal_row`. No block of diagnoses is
            free of V and E codes, so a diagnosis is never a decimal number.

    Raises:
        InputError: it has not the shape of such a code.
    """
    code = exact_code(raw, kind)
    if kind == "diagnosis":
        return code
    digits = code.replace(".", "").lstrip("0") or "0"
    before, after = digits[:2], digits[2:]
    return f"{before}.{after.rstrip('0') or '0'}" if as_decimal else f"{before}.{after}"


def first_decimal_row(diagnosis_rows: int) -> int:
    """From which row on CAML's label file was read as decimal numbers.

    Rows are counted from 0 in the order of that file: the rows of DIAGNOSES_ICD, then those of PROCEDURES_ICD, each
    in file order, and only of stays that have a discharge summary. The procedure after i others of such stays is
    spelled with `as_decimal=diagnosis_rows + i >= first_decimal_row(diagnosis_rows)`.

    >>> first_decimal_row(131_073)
    262144
    """
    return -(-diagnosis_rows // BLOCK_ROWS) * BLOCK_ROWS


def label_of_code(task: Task) -> dict[str, str]:
    """Code -> label, for a task with a fixed label set; codes that the set has not are absent.

    Gold goes by the code that a label means, whatever the row's place in a file: a stay with 00.52 has "52.0" of
    rare50 and every label of mimic3-50 is its own code in all spellings.
    """
    return {task.aliases.get(label, label): label for label in task.codes or ()}


def stay_counts(stays: Iterable[Iterable[str]]) -> Counter[str]:
    """Label -> how many stays have it; a label that stands twice in a stay counts once."""
    return Counter(label for stay in stays for label in set(stay))


def row_counts(stays: Iterable[Iterable[str]]) -> Counter[str]:
    """Label -> how many rows name it: CAML's count, in which a repeat within a stay counts again."""
    return Counter(label for stay in stays for label in stay)


def most_frequent(counts: Mapping[str, int], n: int) -> tuple[str, ...]:
    """The `n` labels with the highest counts, in label-set order; of a tie at the end, those first by text.

    CAML's own tie rule was the order in which its files met the labels; whether a tie decided is not known.
    """
    by_count = sorted(counts, key=lambda label: (-counts[label], label))
    return label_order(by_count[:n])


def most_frequent_labels(stays: Iterable[Sequence[str]], n: int) -> tuple[str, ...]:
    """The labels that the most stays have, each counted once a stay; see `most_frequent` for order and ties."""
    return most_frequent(stay_counts(stays), n)


def labels_seen_at_least(counts: Mapping[str, int], n: int) -> tuple[str, ...]:
    """The labels that at least `n` stays have, in label-set order.

    MIMIC-III clean takes n = 10, each code once a stay, over the stays that have a summary and a code, before they
    are split (Edin et al. 2023, prepare_mimiciii_clean.py).
    """
    return label_order(label for label, count in counts.items() if count >= n)


def label_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Diagnoses, then procedures, each sorted as text. A procedure has at most two digits before its dot ("1.")."""
    return tuple(sorted(labels, key=lambda label: (len(label.partition(".")[0]) <= 2, label)))


def aliases(counts: Mapping[tuple[str, str], int]) -> dict[str, str]:
    """Label -> the code that it means, for every label that is spelled unlike it.

    Where several codes were given one label, it means the most frequent of them (of a tie, the one spelled like the
    label, then the first by text): "74.4" means 74.4 (Cesarean section), not 07.44, unless that is the more frequent
    here. Two labels may mean one code (see the module's head).

    Args:
        counts: (label, exact code) -> how many stays.
    """
    means: dict[str, str] = {}
    for label, code in sorted(counts, key=lambda pair: (-counts[pair], pair[0] != pair[1], pair)):
        means.setdefault(label, code)
    return {label: means[label] for label in label_order(means) if means[label] != label}


def recount_in_words(
    fixed: Sequence[str], recounted: Sequence[str], stays: Mapping[str, int], rows: Mapping[str, int]
) -> tuple[str, ...]:
    """One sentence for each code in which a recount differs from the published set, those that come in first.

    Args:
        fixed, recounted: label sets, spelled exactly (the 50 of CAML are).
        stays, rows: exact code -> number of stays, number of rows.
    """
    sentences = []
    for code in label_order(set(recounted) - set(fixed)):
        spelled = _published_spellings(code) - {code}
        why = "the published count does not have it, for a reason that is not known"
        if spelled:
            why = f"the published count spells it {' or '.join(sorted(spelled))} in some or all of its rows"
        sentences.append(f"{code} comes in with {stays.get(code, 0):,} stays: {why}.")
    least = min((stays.get(code, 0) for code in recounted), default=0)
    for code in label_order(set(fixed) - set(recounted)):
        repeats = rows.get(code, 0) - stays.get(code, 0)
        repeated = f"; the published count adds {repeats:,} repeats within a stay" if repeats > 0 else ""
        have = f"{stays.get(code, 0):,} stays have it, every code of the recount has at least {least:,}"
        sentences.append(f"{code} goes out: {have}{repeated}.")
    return tuple(sentences)


def _published_spellings(code: str) -> set[str]:
    if len(code.partition(".")[0]) > 2:
        return {code}
    return {published_label(code, "procedure", as_decimal=as_decimal) for as_decimal in (False, True)}
