"""ICD-10-CM and ICD-10-PCS: every node against the official files, years, spelling, what is wrong with a code."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from concept_icd.cli.main import main
from concept_icd.errors import InputError
from concept_icd.ontology.code_checks import before_zeros_were_lost, never_had
from concept_icd.ontology.maps import equivalents
from concept_icd.ontology.node_table import NodeTable
from concept_icd.ontology.tree import load_ontology
from tests.conftest import ROOT

ontology = load_ontology("icd10")


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def order_file(path: Path) -> Iterator[tuple[str, bool, str]]:
    """Code without dot, whether it is billable, long title."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        for line in file:
            yield line[6:13].strip(), line[14] == "1", line[77:].strip()


def test_the_tree_of_2026_is_that_of_the_tabular_list(shared_data: Path):
    rows = list(rows_of(shared_data / "icd10cm" / "dx_hierarchy.tsv.gz"))
    chapters = {row["code"]: row["title"].rpartition(" (")[2].rstrip(")") for row in rows if row["level"] == "chapter"}
    assert len(rows) == 98505
    for row in rows:
        node = ontology.node(chapters.get(row["code"], row["code"]))
        assert (node.parent or "") == chapters.get(row["parent"], row["parent"]), node
        assert node.level == (f"{row['level']} characters" if row["level"].isdigit() else row["level"])
        assert ontology.billable(node.code, on=2026) == (row["billable"] == "1")
        if row["level"] not in ("chapter", "section"):
            assert node.title == row["title"]


@pytest.mark.slow
def test_every_beginning_of_a_procedure_code_has_the_label_of_its_table(shared_data: Path):
    rows = list(rows_of(shared_data / "icd10pcs" / "pcs_hierarchy.tsv.gz"))
    assert len(rows) == 192560
    for row in rows:
        node = ontology.node(ontology.parse(row["code"], "procedure"))
        assert (node.kind, node.code.rstrip("-")) == ("procedure", row["code"])
        assert (node.parent or "").rstrip("-") == row["parent"]
        assert ontology.levels("procedure").index(node.level) == int(row["level"]) - 1
        if len(row["code"]) < 7:
            assert node.title == row["label"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("year", "diagnoses", "procedures"),
    [(2016, 69823, 71974), (2018, 71704, 78705), (2022, 72750, 78227), (2024, 74044, 78638), (2026, 74719, 79115)],
)
def test_each_year_has_exactly_the_codes_of_its_order_file(shared_data: Path, year, diagnoses, procedures):
    """The last day of the year: the diagnoses of 2022 are those of April. Two procedures came by a later erratum."""
    for name, kind, count in (("cm", "diagnosis", diagnoses), ("pcs", "procedure", procedures)):
        listed = list(order_file(shared_data / f"icd10{name}" / f"icd10{name}_order_{year}.txt.gz"))
        official = {ontology.parse(code, kind) for code, billable, _ in listed if billable}
        erratum = {"XW023X7", "XW023Y7"} if (year, kind) == (2022, "procedure") else set()
        ours = {code for code in ontology.codes(kind) if ontology.billable(code, on=date(year, 9, 30))}
        assert (len(official), ours) == (count, official | erratum)
        assert all(ontology.had_on(ontology.parse(code, kind), year) for code, _, _ in listed)


def test_the_union_has_the_counts_of_all_editions():
    diagnoses, procedures = (ontology.codes(kind, billable=False) for kind in ("diagnosis", "procedure"))
    assert (len(ontology.codes("diagnosis")), len(ontology.codes("procedure"))) == (75719, 82327)
    assert sum("-" not in code for code in diagnoses) == 98847
    assert Counter(ontology.level(code) for code in diagnoses)["section"] == 297
    assert Counter(len(code.rstrip("-")) for code in procedures)[3] == 918


def test_every_node_has_words_and_stands_behind_its_parent():
    seen: set[str] = set()
    for code in ontology.codes(billable=False):
        node = ontology.node(code)
        assert node.code == code
        assert node.title == " ".join(node.title.split()) != ""
        assert node.parent is None or node.parent in seen
        assert ontology.levels(node.kind).index(node.level) > 0 or node.parent is None
        assert node.listed
        assert 2016 <= node.listed[0] <= node.listed[1] <= 2026
        seen.add(code)
    assert len(seen) == len(ontology) == 296564  # no spelling is two nodes


@pytest.mark.slow
def test_the_tables_are_what_the_build_script_writes(shared_data: Path):
    command = [sys.executable, "scripts/build_icd10.py", "--data-dir", str(shared_data.resolve()), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (check.returncode, check.stdout) == (0, "up to date\n"), check.stderr


def test_placeholders_are_no_level_and_sections_nest():
    assert ontology.parent("T19.2XXA") == "T19.2"
    assert ontology.path("C18.0")[:4] == ("C00-D49", "C00-C96", "C00-C75", "C15-C26")
    assert ontology.path("0DTJ4ZZ") == ("0", "0D", "0DT", "0DTJ", "0DTJ4", "0DTJ4Z", "0DTJ4ZZ")
    assert ontology.children("N18.3") == ("N18.30", "N18.31", "N18.32")
    assert ontology.descendants("0DTJ4") == ("0DTJ4Z", "0DTJ4ZG", "0DTJ4ZZ")


@pytest.mark.parametrize(
    ("code", "on", "billable"),
    [
        ("U07.1", date(2020, 3, 31), False),
        ("U07.1", date(2020, 4, 1), True),
        ("U07.1", 2020, True),  # on some day of the year
        ("U07.1", 2019, False),
        ("M35.8", date(2020, 12, 31), True),  # divided on the next day
        ("M35.8", date(2021, 1, 1), False),
        ("M35.81", date(2020, 12, 31), False),
        ("M35.81", date(2021, 1, 1), True),
        ("Z59.1", date(2023, 3, 31), True),
        ("Z59.10", date(2023, 3, 31), False),
        ("N18.3", date(2020, 9, 30), True),
        ("N18.3", date(2020, 10, 1), False),
        ("N18.3", None, True),
        ("E11", None, False),
        ("E11", 2024, False),
        ("E11.65", date(2031, 1, 1), True),  # judged by the last edition
        ("E11.65", date(2015, 9, 30), False),
        ("0NB20ZX", 2017, True),
        ("0NB20ZX", 2018, False),
    ],
)
def test_billable_by_date(code, on, billable):
    assert ontology.billable(code, on) is billable
    assert (ontology.why_not_billable(code, on) is None) is billable


def test_icd9_takes_no_heed_of_a_date():
    assert load_ontology().billable("428.21", on=date(2030, 1, 1))
    assert not load_ontology().billable("428", on=2010)


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("E1165", None, "E11.65"),
        ("e11.65", None, "E11.65"),
        ("0dtj4zz", None, "0DTJ4ZZ"),
        ("0dtj", None, "0DTJ"),
        ("A022", None, "A02.2"),
        ("D649", None, "D64.9"),  # no procedure begins so
        ("B20", None, "B20"),
        ("B01", "diagnosis", "B01"),
        ("B01", "procedure", "B01-"),
        ("T192XXA", None, "T19.2XXA"),
        ("QA0", None, "QA0"),
        ("A00-B99", None, "A00-B99"),
    ],
)
def test_parse_reads_every_spelling(text, kind, code):
    assert ontology.parse(text, kind) == code


def test_what_could_be_of_either_kind_asks_for_the_kind():
    both = [
        code
        for code in ontology.codes("procedure", billable=False)
        if len(code) > 3 and "-" not in code and f"{code[:3]}.{code[3:]}" in ontology
    ]
    assert both, "the check below is of nothing"
    code = both[0]
    with pytest.raises(InputError, match="write the dot or name the kind"):
        ontology.parse(code)
    assert ontology.parse(code, "procedure") == code
    assert ontology.parse(code, "diagnosis") == f"{code[:3]}.{code[3:]}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("428.21", "it is a code of ICD-9-CM"),
        ("4280", "it is a code of ICD-9-CM"),
        ("0DTJ.4ZZ", "has no dot; did you mean '0DTJ4ZZ'?"),
        ("ODTJ4ZZ", "the letters O and I are not used there, only the digits; did you mean '0DTJ4ZZ'?"),
        ("DTJ4ZZ", "a leading zero lost? did you mean '0DTJ4ZZ'?"),
        ("16070", "did you mean '0016070'?"),
        ("E11.90", "another country's (WHO, GM, AM); the nearest is 'E11.9'"),
        ("I64", "another country's (WHO, GM, AM)"),
        ("F32.9!", "another country's ICD-10 (WHO, GM, AM)"),
        ("A00.-", "another country's ICD-10 (WHO, GM, AM)"),
    ],
)
def test_what_is_no_code_says_what_it_may_be(text, says):
    with pytest.raises(InputError) as caught:
        ontology.node(ontology.parse(text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "on", "says"),
    [
        ("N18.3", 2021, "only in the fiscal years 2016 to 2020; below it are N18.30, N18.31, N18.32"),
        ("U07.1", date(2020, 1, 1), "not billable on 2020-01-01, only from 2020-04-01 to 2026-09-30"),
        ("E11.1", 2024, "a header, not a billable code; below it are E11.10, E11.11"),
        ("E11.1", 2017, "only in the fiscal year 2017"),
    ],
)
def test_why_a_code_is_not_billable(code, on, says):
    if (code, on) == ("E11.1", 2017):
        assert ontology.why_not_billable(code, on) == "'E11.1' is a header, not a billable code"
    else:
        assert says in (ontology.why_not_billable(code, on) or "")


def test_an_old_code_is_never_called_unknown():
    assert ontology.had("N18.3")
    assert ontology.had("0NB20ZX")
    assert not ontology.had("I64")
    assert not ontology.had("0DTJ4Z9")
    assert ontology.resolve("I64").code == "I60-I69"
    assert ontology.resolve("0DTJ4Z9").code == "0DTJ4Z"
    assert ontology.resolve("C18.99").code == "C18.9"


def test_the_table_finds_exactly_its_own_codes(tmp_path):
    table = tmp_path / "t.tsv"
    lines = ["code\tparent\tbillable\ttitle", "E000-E999\t\t0\tA", "E000\tE000-E999\t1\tB", "V01\t\t1\tC"]
    table.write_text("\n".join(lines) + "\n")
    nodes = NodeTable(table, "diagnosis")
    assert [nodes.row(code) for code in ("E000-E999", "E000", "V01")] == [0, 1, 2]
    assert [nodes.row(code) for code in ("E000-E99", "E00", "", "V011", "\u00e4")] == [None] * 5
    assert (nodes.parent(1), nodes.parent(2), list(nodes.children(0))) == (0, None, [1])


def test_two_versions_in_one_column_are_counted():
    said = never_had({"4280": 3, "E11.65": 2}, ontology, "codes")
    assert said == (
        "3 of the 5 codes are codes that no edition of ICD-10-CM and ICD-10-PCS had: 4280 (3 times); "
        "3 are of ICD-9-CM: are two versions mixed in one column?"
    )
    said = never_had({"E119": 4, "428.0": 2}, load_ontology(), "codes") or ""
    assert said.endswith("4 are of ICD-10-CM and ICD-10-PCS: are two versions mixed in one column?")
    assert never_had({"E11.65": 2, "0DTJ4ZZ": 1}, ontology, "codes") is None


def test_only_digits_lose_zeros():
    assert before_zeros_were_lost("16070", ontology) == ("0016070",)
    assert before_zeros_were_lost("E11", ontology) == ()


# The equivalence maps


@pytest.mark.parametrize(
    ("code", "of", "targets"),
    [
        ("428.21", "icd9cm", ["I50.21"]),
        ("47.01", "icd9cm", ["0DTJ4ZZ"]),
        ("0DTJ4ZZ", "icd10", ["47.01"]),
        ("N39.0", "icd10", ["599.0"]),
        ("A41.9", "icd10", ["038.9", "995.91"]),
    ],
)
def test_maps_go_both_ways(code, of, targets):
    assert [to.code for to in equivalents(code, of)] == targets


def test_maps_show_their_flags():
    assert [(to.combination, to.scenario, to.choice_list) for to in equivalents("A41.9", "icd10")] == [
        (True, 1, 1),
        (True, 1, 2),
    ]
    assert not equivalents("N39.0", "icd10")[0].approximate
    assert equivalents("Z3A.38", "icd10")[0].code is None  # the map says: none
    with pytest.raises(InputError, match=r"header, not a billable code; below it are E11\.0"):
        equivalents("E11", "icd10")


# The command


def test_show_takes_the_classification_that_has_the_code(capsys):
    assert main(["ontology", "show", "e1165", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["code"], record["listed"], record["billable_days"]) == (
        "E11.65",
        [2016, 2026],
        ["2015-10-01", "2026-09-30"],
    )
    assert main(["ontology", "show", "0DTJ4ZZ"]) == 0
    assert "Resection of Appendix, Percutaneous Endoscopic Approach" in capsys.readouterr().out.splitlines()[-1]
    for code, says in (("ODTJ4ZZ", "0DTJ4ZZ"), ("0DTJ.4ZZ", "no dot"), ("E11.90", "another country")):
        assert main(["ontology", "show", code]) == 2
        assert says in capsys.readouterr().err
    assert main(["ontology", "show", "428.21", "--classification", "icd10"]) == 2
    assert "ICD-9-CM" in capsys.readouterr().err


def test_search_and_map(capsys):
    assert main(["ontology", "search", "resection", "appendix", "--classification", "icd10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["code"].startswith("0DTJ")
    assert [node.code for node, _ in ontology.search("N18.3")] == ["N18.3", "N18.30", "N18.31", "N18.32"]
    assert ontology.search("0dtj4")[0][0].code == "0DTJ4ZG"
    assert main(["ontology", "map", "A41.9"]) == 0
    assert "approximate, combination: scenario 1, choice list 2" in capsys.readouterr().out
    assert main(["ontology", "map", "428.21", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equivalents"][0]["code"] == "I50.21"
