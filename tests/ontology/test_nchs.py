"""The NCHS readers on the files of October 2011, and on small hand-made files."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from functools import cache
from pathlib import Path

import pytest

from concept_icd.errors import InputError
from concept_icd.ontology.nchs import (
    IndexEntry,
    TabularEntry,
    inclusion_phrases,
    index_phrases,
    read_index,
    read_tabular,
)
from concept_icd.ontology.nchs.rtf import read_paragraphs
from concept_icd.ontology.tree import load_ontology

tabular, index = cache(read_tabular), cache(read_index)


@pytest.fixture
def nchs(shared_data: Path) -> Path:
    return shared_data / "icd9cm" / "nchs_2011"


# The tabular lists


@pytest.mark.parametrize(
    ("file", "headings", "inclusions", "includes", "excludes"),
    [
        ("Dtab12.zip", 13231, 11937, 1068, 4830),
        ("dtab12.txt.gz", 13233, 11976, 1071, 4944),
        ("Ptab12.zip", 4117, 2761, 230, 2299),
        ("ptab12.txt.gz", 4120, 2640, 276, 2359),
    ],
)
def test_counts_of_the_tabular_lists(nchs, file, headings, inclusions, includes, excludes):
    """Near the counts of another derivation by simple rules: 13,850 inclusions, 978 includes, 4,954 excludes for the
    diagnoses, 2,932 / 281 / 2,647 for the procedures. That one counts every paragraph; here a line that ends in ":" is
    no entry but the beginning of those below it, and brackets of fifth digits ("[0-3]") are none either.
    """
    entries = tabular(nchs / file)
    assert len(entries) == headings
    assert sum(len(entry.inclusions) for entry in entries.values()) == inclusions
    assert sum(len(entry.includes) for entry in entries.values()) == includes
    assert sum(len(entry.excludes) for entry in entries.values()) == excludes


@pytest.mark.parametrize(
    ("table", "file", "share"),
    [
        ("dx_terms", "Dtab12.zip", 0.99),
        ("dx_terms", "dtab12.txt.gz", 0.99),
        ("proc_terms", "Ptab12.zip", 0.94),
        ("proc_terms", "ptab12.txt.gz", 0.96),
    ],
)
def test_the_terms_are_those_of_another_derivation(shared_data, nchs, table, file, share):
    """Nearly all of its rows stand under the same code and heading here, whole or as the end of a joined entry.

    What differs: stray rows of that table (headings without a blank after the code, "066.40West Nile fever"), and in
    the procedures some lists that NCHS set in a wrong style, which the RTF reader follows.
    """
    entries = tabular(nchs / file)
    with gzip.open(shared_data / "icd9cm" / f"{table}.tsv.gz", "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    fields = {"inclusion": "inclusions", "includes": "includes", "excludes": "excludes"}
    rows = [row for row in rows if row["kind"] in fields and not re.search(r":$|^\[", row["text"])]
    assert len(rows) > 5000
    agree = 0
    for row in rows:
        entry = entries.get(row["code"], TabularEntry("", ""))
        agree += any(text.endswith(" ".join(row["text"].split())) for text in getattr(entry, fields[row["kind"]]))
    assert agree / len(rows) > share


@pytest.mark.parametrize("file", ["Dtab12.zip", "dtab12.txt.gz"])
def test_what_the_list_says_under_a_code(nchs, file):
    entries = tabular(nchs / file)
    assert entries["428.0"] == TabularEntry(
        "428.0",
        "Congestive heart failure, unspecified",
        inclusions=["Congestive heart disease", "Right heart failure (secondary to left heart failure)"],
        excludes=["fluid overload NOS (276.69)"],
    )
    assert entries["250.1"].inclusions == [
        "Diabetic acidosis without mention of coma",
        "Diabetic ketosis without mention of coma",
    ]
    assert entries["004"].includes == ["bacillary dysentery"]
    assert entries["066.40"].inclusions[0] == "West Nile fever NOS"  # its heading lacks the blank
    assert "Use additional code to identify presence of arteriosclerosis" in entries["429.0"].notes
    assert entries["E001.0"].title == "Walking, marching and hiking"  # listed before the section begins
    assert entries["001-139"].excludes[0] == "acute respiratory infections (460-466)"


@pytest.mark.parametrize("file", ["Dtab12.zip", "dtab12.txt.gz", "Ptab12.zip", "ptab12.txt.gz"])
def test_headings_are_nodes_of_the_ontology(nchs, file):
    """All but a handful: ranges printed otherwise, and a test's name that begins with a number ("14 C-Urea")."""
    ontology = load_ontology()
    unknown = [code for code in tabular(nchs / file) if code not in ontology]
    assert len(unknown) < 20
    assert all("-" in code or code.startswith("E849") for code in unknown), unknown


def test_inclusion_phrases_are_fit_for_a_question(nchs):
    phrases = inclusion_phrases(nchs / "Dtab12.zip", ["428.0", "428.9", "250.10", "786.2", "nothing"])
    assert phrases == {
        "428.0": ["Congestive heart disease", "Right heart failure"],
        "428.9": ["Cardiac failure", "Heart failure", "Myocardial failure", "Weak heart"],
        "250.10": [],  # its list of fifth digits is shared: ask for 250.1
        "786.2": [],
        "nothing": [],
    }


# The alphabetic indexes


def test_counts_of_the_indexes(nchs):
    """83,439 lines of the two indexes end in a code; a line of the neoplasm table gives up to six entries."""
    assert len(index(nchs / "Dindex12.zip")) == 75400
    assert len(index(nchs / "Pindex12.zip")) == 17189


def test_index_codes_are_codes(nchs):
    ontology = load_ontology()
    for file, kind in (("Dindex12.zip", "diagnosis"), ("Pindex12.zip", "procedure")):
        entries = index(nchs / file)
        known = sum(entry.code in ontology and ontology.kind(entry.code) == kind for entry in entries)
        assert known / len(entries) > 0.999
        assert all(entry.terms and all(entry.terms) and entry.phrase for entry in entries)


def test_index_entries_have_their_path(nchs):
    entries = index(nchs / "Dindex12.zip")
    assert IndexEntry(("Failure", "heart", "congestive"), "428.0") in entries
    assert IndexEntry(("Failure", "dental implant", "due to", "infection"), "525.71") in entries
    assert IndexEntry(("Primary malignant neoplasm", "of abdomen", "wall"), "173.50") in entries
    assert IndexEntry(("Benign neoplasm", "of acoustic nerve"), "225.1") in entries
    assert IndexEntry(("Benign hypertension", "accelerated"), "401.1") not in entries  # the cell holds a dash
    assert IndexEntry(("Malignant hypertension", "accelerated"), "401.0") in entries
    assert ("Abactio",) not in {entry.terms for entry in entries}  # a cross-reference without a code
    assert IndexEntry(("Repair", "atrial septal defect"), "35.71") in index(nchs / "Pindex12.zip")
    manifestations = [entry for entry in entries if entry.manifestation == "294.11"]
    assert {entry.code for entry in manifestations} >= {"046.11", "345.3"}


@pytest.mark.parametrize(
    ("terms", "phrase"),
    [
        (("Failure", "heart", "congestive"), "congestive heart failure"),
        (("Failure", "dental implant", "due to", "infection"), "dental implant failure due to infection"),
        (("Crohn's disease",), "Crohn's disease"),
        (("Primary malignant neoplasm", "of abdomen", "wall"), "Primary malignant neoplasm of abdomen wall"),
        (("Fracture NEC", "closed, simple"), "closed simple fracture"),
        (("TUMT of prostate", "laser"), "laser TUMT of prostate"),
        (("History of", "allergy", "latex"), "history of latex allergy"),
        (("Lack of", "appetite"), "lack of appetite"),
    ],
)
def test_index_phrases_have_natural_word_order(terms, phrase):
    assert IndexEntry(terms, "000").phrase == phrase


def test_index_phrases_by_code(nchs):
    phrases = index_phrases(nchs / "Dindex12.zip", ["428.0", "486", "nothing"])
    assert "congestive heart failure" in phrases["428.0"]
    assert {"Pneumonia", "atypical pneumonia"} <= set(phrases["486"])
    assert phrases["nothing"] == []


# Files


RTF = (
    r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\stylesheet{\s15\ql \snext15 Normal;}"
    r"{\s18\fi-1440\li1440 \snext18 Three-digit Level;}}"
    "\n"
    r"\pard\plain \s18\fi-1440\li1440 {\f1 {\*\bkmkstart 386}386\tab M\'e9ni\'e8re\rquote s dis\hich\f1 "
    "\n"
    r"ease \{x\}\par 387\tab Oto\u8209 ?sclerosis\line (ear)\par }\pard\plain plain\par }"
)


def test_rtf_paragraphs_have_text_and_style():
    first, second, third = read_paragraphs(RTF)
    assert (first.text, first.style) == ("386\tMénière’s disease {x}", "Three-digit Level")
    assert second.text == "387\tOto\u2011sclerosis\n(ear)"
    assert second.style == "Three-digit Level"  # holds until \pard
    assert (third.text, third.style) == ("plain", "")


LIST = "\n\n".join(
    [f"{number} Disease {number}" for number in range(1, 10)]
    + ["486 Pneumonia", "Lung:", "fever", "rot NOS", "Excludes: plague (020)", "487 Influenza", "Note: 488 is new"]
)


def test_a_plain_list_zipped_gzipped_or_bare(tmp_path):
    text = re.sub(r"(?m)^(\d) ", r"00\1 ", LIST).encode()
    (tmp_path / "list.txt").write_bytes(text)
    (tmp_path / "list.gz").write_bytes(gzip.compress(text))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("list.txt", text)
    (tmp_path / "list.zip").write_bytes(archive.getvalue())
    for name in ("list.txt", "list.gz", "list.zip"):
        entries = read_tabular(tmp_path / name)
        assert list(entries) == [f"00{number}" for number in range(1, 10)] + ["486", "487"]
        assert entries["486"].inclusions == ["Lung fever", "Lung rot NOS"]
        assert entries["486"].excludes == ["plague (020)"]
        assert entries["487"].notes == ["Note: 488 is new"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        (b"", "does not read as"),
        (b"just some text\n" * 50, "does not read as"),
        (b"PK\x03\x04 not really a zip", "damaged"),
        (b"\x1f\x8b not really gzip", "damaged"),
        (b"{\\rtf1 nothing}", "does not read as"),
        (b"\x00\xff\xfe" * 100, "does not read as"),
    ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, content, says):
    path = tmp_path / "Dtab12.zip"
    if content is not None:
        path.write_bytes(content)
    for read in (read_tabular, read_index):
        with pytest.raises(InputError, match=says) as caught:
            read(path)
        assert "Dtab12.zip" in str(caught.value)


def test_a_zip_with_several_texts_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr("a.txt", "a")
        file.writestr("b.rtf", "b")
    with pytest.raises(InputError, match="holds 2"):
        read_tabular(tmp_path / "two.zip")


def test_one_kind_of_file_is_not_taken_for_the_other(nchs):
    with pytest.raises(InputError, match="alphabetic index"):
        read_index(nchs / "ptab12.txt.gz")
    with pytest.raises(InputError, match="tabular list"):
        read_tabular(nchs / "Pindex12.zip")
