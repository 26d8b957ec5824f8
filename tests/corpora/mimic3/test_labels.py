"""Spelling of labels against the numbers that spoilt them; label sets from counts worked by hand."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.corpora.mimic3.labels import (
    BLOCK_ROWS,
    aliases,
    exact_code,
    first_decimal_row,
    label_of_code,
    label_order,
    labels_seen_at_least,
    most_frequent,
    most_frequent_labels,
    published_label,
    recount_in_words,
    row_counts,
    stay_counts,
)
from concept_icd.corpora.mimic3.tasks import TASKS
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Kind

#: Stays whose rows are in file order, repeats included.
STAYS = [["428.0", "93.90", "93.90"], ["428.0", "V58.61"], ["V58.61", "486", "00.66"], ["428.0"]]
raw_procedures = st.from_regex(r"[0-9]{3,4}", fullmatch=True)


def through_numbers(raw: str) -> tuple[str, str]:
    """What the two readings as numbers make of a procedure: the label as text, the label as a decimal number."""
    digits = str(int(raw))
    label = f"{digits[:2]}.{digits[2:]}"
    return label, str(float(label))


@pytest.mark.parametrize(
    ("raw", "kind", "code"),
    [
        ("4019", "diagnosis", "401.9"),
        ("486", "diagnosis", "486"),
        ("0389", "diagnosis", "038.9"),
        ("0414 ", "diagnosis", "041.4"),
        ("V5861", "diagnosis", "V58.61"),
        ("V08", "diagnosis", "V08"),
        ("E888", "diagnosis", "E888"),
        ("E8889", "diagnosis", "E888.9"),
        ("0407", "procedure", "04.07"),
        ("0066", "procedure", "00.66"),
        ("966", "procedure", "96.6"),
    ],
)
def test_the_dot_goes_where_the_kind_puts_it_and_zeros_stay(raw: str, kind: Kind, code: str) -> None:
    assert exact_code(raw, kind) == code
    if kind == "diagnosis":
        assert published_label(raw, "diagnosis") == code


@pytest.mark.parametrize(("raw", "kind"), [("", "diagnosis"), ("40191x", "diagnosis"), ("7", "procedure")])
def test_what_has_not_the_shape_of_a_code_is_refused(raw: str, kind: Kind) -> None:
    with pytest.raises(InputError, match=f"{re.escape(repr(raw))} is no ICD-9-CM {kind} code"):
        exact_code(raw, kind)


@given(raw_procedures)
def test_a_published_procedure_is_what_two_readings_as_numbers_leave_of_it(raw: str) -> None:
    assert (published_label(raw, "procedure"), published_label(raw, "procedure", as_decimal=True)) == through_numbers(
        raw
    )


@given(raw_procedures, raw_procedures)
def test_exact_codes_never_collide_and_published_ones_do_when_only_zeros_differ(one: str, other: str) -> None:
    assert (exact_code(one, "procedure") == exact_code(other, "procedure")) == (one == other)
    same = published_label(one, "procedure") == published_label(other, "procedure")
    assert same == (one.lstrip("0") == other.lstrip("0") or (int(one) == int(other) == 0))


def test_the_block_in_which_the_diagnoses_end_stays_text() -> None:
    assert BLOCK_ROWS == 131072
    assert first_decimal_row(0) == 0
    assert first_decimal_row(1) == 131072
    assert first_decimal_row(131072) == 131072
    assert first_decimal_row(131073) == 262144


def test_pandas_reads_blocks_as_this_module_says() -> None:
    """CAML's second reading done again: 131,100 diagnoses with V codes, then procedures, by pandas itself."""
    pandas = pytest.importorskip("pandas")
    import io

    diagnoses = ["4019", "V5861", "486"] * 43_700
    procedures = ["0066", "9390", "9604", "0407"] * 40_000
    labels = [published_label(raw, "diagnosis") for raw in diagnoses]
    labels += [published_label(raw, "procedure") for raw in procedures]
    text = "SUBJECT_ID,HADM_ID,ICD9_CODE,ADMITTIME,DISCHTIME\n" + "".join(f"1,2,{label},,\n" for label in labels)
    with pytest.warns(pandas.errors.DtypeWarning):
        read = [str(label) for label in pandas.read_csv(io.StringIO(text))["ICD9_CODE"]]
    start = first_decimal_row(len(diagnoses))
    assert read[: len(diagnoses)] == labels[: len(diagnoses)]
    assert read[len(diagnoses) :] == [
        published_label(raw, "procedure", as_decimal=len(diagnoses) + i >= start) for i, raw in enumerate(procedures)
    ]
    assert {"66.", "66.0", "93.90", "93.9"} <= set(read)


def test_the_labels_of_rare50_mean_the_only_billable_codes_that_give_them() -> None:
    ontology = load_ontology("icd9cm")
    gives: dict[str, set[str]] = {}
    for code in ontology.codes("procedure"):
        for label in through_numbers(code.replace(".", "")):
            gives.setdefault(label, set()).add(code)
    rare50 = TASKS["mimic3-rare50"]
    for label, code in rare50.aliases.items():
        assert gives[label] == {code}
        assert label not in ontology or not ontology.billable(label)
    for label in (*TASKS["mimic3-50"].codes, *rare50.codes):  # type: ignore[misc]
        if ontology.kind(label) == "procedure" and label not in rare50.aliases:
            assert gives[label] == {label}


def test_the_gold_of_a_fixed_set_goes_by_the_code_a_label_means() -> None:
    label_of = label_of_code(TASKS["mimic3-rare50"])
    assert [label_of.get(code) for code in ("04.07", "00.52", "77.70", "34.71")] == ["40.7", "52.0", "77.7", "34.71"]
    assert "40.7" not in label_of
    assert "428.0" not in label_of
    assert len(label_of) == 50
    fifty = label_of_code(TASKS["mimic3-50"])
    assert all(code == label for code, label in fifty.items())


def test_a_repeat_counts_in_rows_and_not_in_stays() -> None:
    assert stay_counts(STAYS) == {"428.0": 3, "V58.61": 2, "93.90": 1, "486": 1, "00.66": 1}
    assert row_counts(STAYS) == {"428.0": 3, "V58.61": 2, "93.90": 2, "486": 1, "00.66": 1}


def test_the_most_frequent_come_diagnoses_first_and_ties_break_by_text() -> None:
    assert most_frequent_labels(STAYS, 2) == ("428.0", "V58.61")
    assert most_frequent_labels(STAYS, 3) == ("428.0", "V58.61", "00.66")  # 00.66, 486 and 93.90 tie
    assert most_frequent(row_counts(STAYS), 3) == ("428.0", "V58.61", "93.90")
    assert most_frequent({"93.90": 5, "428.0": 1}, 9) == ("428.0", "93.90")


def test_labels_of_enough_stays() -> None:
    assert labels_seen_at_least(stay_counts(STAYS), 2) == ("428.0", "V58.61")
    assert labels_seen_at_least(stay_counts(STAYS), 4) == ()


def test_spoilt_labels_sort_among_the_procedures() -> None:
    assert label_order(["66.", "V08", "1.", "E888", "40.7", "038.9"]) == ("038.9", "E888", "V08", "1.", "40.7", "66.")


def test_an_alias_names_the_most_frequent_code_and_only_where_the_spelling_differs() -> None:
    counts = Counter(
        {
            ("74.4", "74.4"): 9,
            ("74.4", "07.44"): 2,
            ("66.", "00.66"): 4,
            ("66.0", "00.66"): 40,
            ("93.9", "93.90"): 30,
            ("93.90", "93.90"): 3,
            ("40.7", "04.07"): 1,
            ("401.9", "401.9"): 99,
            ("11.7", "11.7"): 5,
            ("11.7", "01.17"): 6,
            ("31.3", "31.3"): 2,
            ("31.3", "03.13"): 2,
        }
    )
    assert aliases(counts) == {
        "11.7": "01.17",
        "40.7": "04.07",
        "66.": "00.66",
        "66.0": "00.66",
        "93.9": "93.90",
    }


def test_a_recount_says_what_comes_in_what_goes_out_and_why() -> None:
    fixed = ("401.9", "37.23")
    stays = {"401.9": 20, "93.90": 8, "37.23": 7}
    rows = {"401.9": 20, "93.90": 8, "37.23": 9}
    assert recount_in_words(fixed, most_frequent(stays, 2), stays, rows) == (
        "93.90 comes in with 8 stays: the published count spells it 93.9 in some or all of its rows.",
        "37.23 goes out: 7 stays have it, every code of the recount has at least 8; "
        "the published count adds 2 repeats within a stay.",
    )
    assert recount_in_words(fixed, ("401.9", "37.23"), stays, rows) == ()
    assert recount_in_words(("401.9",), ("486",), {"486": 3}, {}) == (
        "486 comes in with 3 stays: the published count does not have it, for a reason that is not known.",
        "401.9 goes out: 0 stays have it, every code of the recount has at least 3.",
    )
