"""The notes of the invented MIMIC-III: laid out as real ones, as awkward, and saying what is billed."""

import itertools
import re

from concept_icd.corpora.mimic3.synthetic.billing import names_of
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.ontology.tree import load_ontology
from tests.corpora.mimic3.conftest import STAYS, by_stay, in_bill_order, rows

#: The layout that the section selector reads.
HEADINGS = """
    Admission Date:|Service:|Chief Complaint:|Major Surgical or Invasive Procedure:|History of Present Illness:
    Past Medical History:|Social History:|Physical Exam:|Pertinent Results:|Brief Hospital Course:
    Medications on Admission:|Discharge Medications:|Discharge Disposition:|Discharge Diagnosis:
    Discharge Condition:|Discharge Instructions:|Followup Instructions:
"""


def test_reports_and_addenda(summaries):
    assert {row["DESCRIPTION"] for row in summaries} == {"Report", "Addendum"}
    for found in by_stay(summaries).values():
        dates = {kind: [r["CHARTDATE"] for r in found if r["DESCRIPTION"] == kind] for kind in ("Report", "Addendum")}
        assert dates["Report"]
        assert all(date >= min(dates["Report"]) for date in dates["Addendum"])
    orders = [[row["DESCRIPTION"] for row in found] for found in by_stay(summaries).values()]
    assert any(order[0] == "Addendum" for order in orders), "file order is not chart order"
    assert any(row["ISERROR"] == "1" for row in summaries)
    assert any(
        sum(r["DESCRIPTION"] == "Report" and not r["ISERROR"] for r in found) > 1
        for found in by_stay(summaries).values()
    )
    assert not any(row["CHARTTIME"] or row["CGID"] for row in summaries)


def test_other_notes(tables):
    others = [row for row in tables["NOTEEVENTS"] if row["CATEGORY"] != "Discharge summary"]
    assert len(others) == 4 * STAYS
    assert {"Nursing/other", "Radiology", "ECG", "Echo", "Physician ", "Nursing"} <= {row["CATEGORY"] for row in others}
    assert any(not row["HADM_ID"] for row in others)
    assert any(row["ISERROR"] == "1" for row in others)
    assert any("discharge summary" in row["TEXT"] for row in others)


def test_the_number_of_note_rows_is_as_asked(tmp_path):
    counts = write_synthetic_mimic3(tmp_path / "m", 60, note_rows=500)
    assert counts["noteevents"] == 500 == len(rows(tmp_path / "m/NOTEEVENTS.csv"))


def test_stays_without_a_summary_and_summaries_without_codes(tables, summaries):
    bills = in_bill_order(tables["DIAGNOSES_ICD"])
    written = {row["HADM_ID"] for row in summaries}
    billed = {stay for stay, codes in bills.items() if codes}
    assert written - billed
    assert billed - written
    assert written | billed <= {row["HADM_ID"] for row in tables["ADMISSIONS"]}


def test_text_is_awkward(summaries):
    text = "\n".join(row["TEXT"] for row in summaries)
    for mark in (
        r"\[\*\*2\d{3}-\d{1,2}-\d{1,2}\*\*\]",
        r"\[\*\*Hospital1 \d+\*\*\]",
        r"\[\*\*Last Name \(STitle\) \d+\*\*\]",
    ):
        assert re.search(mark, text), mark
    assert "Dr. [**Known lastname**]" in " ".join(text.split())
    assert '"I just do not feel right"' in " ".join(text.split())
    assert '""looks unwell""' in " ".join(text.split())
    assert "," in text
    assert "°" in text
    assert all("describes no real patient" in row["TEXT"] for row in summaries if not row["ISERROR"])


def test_typed_and_dictated_headings(summaries):
    reports = [row["TEXT"] for row in summaries if row["DESCRIPTION"] == "Report" and not row["ISERROR"]]
    headings = [heading.strip() for line in HEADINGS.splitlines() for heading in line.split("|") if heading.strip()]
    typed = [text for text in reports if re.search("^Brief Hospital Course:$", text, re.MULTILINE)]
    dictated = [text for text in reports if re.search("^HOSPITAL COURSE:  ", text, re.MULTILINE)]
    assert len(typed) > len(dictated) > 0
    assert len(typed) + len(dictated) == len(reports)
    for text in typed:
        places = [re.search(f"^{heading}", text, re.MULTILINE).start() for heading in headings]
        assert places == sorted(places)
    assert all(len(line) <= 78 for text in reports for line in text.splitlines() if "Discharge Date:" not in line)


def test_length_of_summaries(summaries, tmp_path):
    reports = [len(row["TEXT"]) for row in summaries if row["DESCRIPTION"] == "Report" and not row["ISERROR"]]
    assert 9_000 < sum(reports) / len(reports) < 11_000
    write_synthetic_mimic3(tmp_path / "short", 60, summary_length=2000)
    short = [
        len(r["TEXT"])
        for r in rows(tmp_path / "short/NOTEEVENTS.csv")
        if r["DESCRIPTION"] == "Report" and "Admission" in r["TEXT"][:9]
    ]
    assert sum(short) / len(short) < 5000


def test_text_names_the_codes(tables, summaries):
    """Most codes are called by one of their names; codes of the next stay seldom are."""
    reports = {r["HADM_ID"]: flat(r["TEXT"]) for r in summaries if r["DESCRIPTION"] == "Report" and not r["ISERROR"]}
    bills = {}
    for name, kind in (("DIAGNOSES_ICD", "diagnosis"), ("PROCEDURES_ICD", "procedure")):
        for stay, codes in in_bill_order(tables[name]).items():
            bills.setdefault(stay, set()).update((kind, code) for code in codes)
    stays = [stay for stay in reports if bills.get(stay)]
    own = [named(bill, reports[stay]) for stay in stays for bill in bills[stay]]
    strangers = [named(bill, reports[other]) for stay, other in itertools.pairwise(stays) for bill in bills[stay]]
    assert sum(own) / len(own) > 0.95
    assert sum(strangers) / len(strangers) < 0.25


def named(bill, text):
    kind, raw = bill
    code = load_ontology().parse(raw, kind)
    names = ("".join(part for part in name.parts if isinstance(part, str)) for name in names_of(code) if is_plain(name))
    return any(flat(name) in text for name in names)


def is_plain(name):
    return all(isinstance(part, str) for part in name.parts)


def flat(text):
    return " ".join(text.lower().split())


def test_the_principal_diagnosis_leads_the_bill(tables, summaries):
    """The discharge diagnoses, where they name it, begin with it."""
    bills = in_bill_order(tables["DIAGNOSES_ICD"])
    right = wrong = 0
    for row in summaries:
        codes = bills.get(row["HADM_ID"])
        found = re.search(r"Discharge Diagnosis:\n(.*)\n", row["TEXT"])
        if not codes or not found:
            continue
        first = [place for place, code in enumerate(codes) if found[1].lower() in names(code)]
        if first:
            right, wrong = right + (first[0] == 0), wrong + (first[0] != 0)
    assert right > 2 * wrong > 0


def names(raw):
    code = load_ontology().parse(raw, "diagnosis")
    return {part.lower() for name in names_of(code) for part in name.parts if isinstance(part, str)}
