"""Sections of summaries as hospitals write them, in several layouts, and which of them are kept when not all fit."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.corpora import synthetic_notes
from concept_icd.text.sections import PREAMBLE, STANDARD, Section, keep_sections, split_sections, what_was_cut
from tests.conftest import ROOT

#: The layout of an electronic summary: a heading, a colon, the text on the next line.
ELECTRONIC = """Admission Date:  [**2151-7-16**]       Discharge Date:  [**2151-8-4**]

Date of Birth:   [**2073-9-11**]       Sex:  F

Service: MEDICINE

Allergies:
Penicillins / Iodine; Iodine Containing

Attending:[**First Name3 (LF) 30**]
Chief Complaint:
shortness of breath

Major Surgical or Invasive Procedure:
[**2151-7-17**] Right heart catheterization

History of Present Illness:
77 y/o F with COPD. As told in the
history of present illness, she was well. See Past Medical History: nothing new.
In the ED, vitals: 98.2.
PE: none was found.

Past Medical History:
1. COPD
2. Hysterectomy

Social History:
Lives alone
Family History:
NC

Physical Exam:
VS: T 98
HEENT: PERRL
Neurological exam: intact

Pertinent Results:
[**2151-7-16**] 05:40PM   WBC-10

Brief Hospital Course:
77 yo with COPD, as per her discharge medications: steroids.
# PE: heparin.
Respiratory: nebulizers.

Medications on Admission:
aspirin

Discharge Medications:
1. Aspirin 81 mg Tablet Sig: One (1) Tablet PO DAILY

Discharge Disposition:
Home With Service

Facility:
[**Hospital Course: 3**]

Discharge Diagnosis:
PRIMARY DIAGNOSIS: COPD
Secondary Diagnoses:
hypertension

Discharge Condition:
Good

Discharge Instructions:
You were admitted for COPD. Please see your doctor.

Followup Instructions:
Provider: [**Name10 (NameIs) **] Phone:[**Telephone/Fax (1) 1**] Date/Time:[**2151-8-1**] 10:00


Completed by:[**2151-8-5**]
"""
ELECTRONIC_NAMES = [
    *("Header", "Allergies", "Header", "Chief Complaint", "Procedure", "History of Present Illness", "Past History"),
    *("Social History", "Family History", "Physical Exam", "Pertinent Results", "Hospital Course"),
    *("Admission Medications", "Discharge Medications", "Disposition", "Discharge Diagnosis", "Discharge Condition"),
    *("Discharge Instructions", "Follow-up", "Signature"),
]
#: A dictated one: capitals, the text on the heading's line, wrapped; medications told apart by place; an addendum.
DICTATED = """Name:  [**Known lastname 1**]                     Unit No:  [**Numeric Identifier 2**]

HISTORY OF THE PRESENT ILLNESS:  The patient is a 64-year-old
man with diabetes whose
past medical history: see the chart.

PAST MEDICAL HISTORY (per family):  Diabetes; gout.

PAST SURGICAL HISTORY:  None.

MEDICATIONS:  Glyburide.

PHYSICAL EXAMINATION ON ADMISSION:  Afebrile.  LUNGS:  Clear.

HOSPITAL COURSE BY SYSTEM:
1.  Respiratory:  Extubated on [**2-3**].
2.  Disposition and family:  met with the team.

CONDITION AT DISCHARGE:  Stable.

MEDICATIONS:  Insulin.

DISCHARGE DIAGNOSES
1.  Pneumonia.

FOLLOW-UP PLANS
:  In two weeks.

                            [**First Name4 (NamePattern1) 3**], M.D.

Dictated By:[**Last Name (NamePattern1) 4**]

ADDENDUM:  Discharge was put off for a fever.

DISCHARGE DIAGNOSES:  Line infection.
"""


def names(text: str) -> list[str]:
    return [section.name for section in split_sections(text)]


def parts(text: str) -> dict[str, str]:
    """Name -> text of its first section."""
    return {section.name: text[section.start : section.end] for section in reversed(split_sections(text))}


def test_an_electronic_summary():
    assert names(ELECTRONIC) == ELECTRONIC_NAMES
    found = parts(ELECTRONIC)
    assert found["Procedure"].endswith("Right heart catheterization\n\n")
    assert "vitals: 98.2.\nPE: none" in found["History of Present Illness"], "no heading is spoken of as one"
    assert "Respiratory: nebulizers." in found["Hospital Course"]
    assert "Neurological exam" in found["Physical Exam"]
    assert found["Disposition"].endswith("[**Hospital Course: 3**]\n\n"), "de-identified text holds no heading"
    assert found["Discharge Diagnosis"].startswith("Discharge Diagnosis:\nPRIMARY DIAGNOSIS: COPD\nSecondary Diag")


def test_the_same_on_one_line():
    line = " ".join(ELECTRONIC.split())
    found = parts(line)
    # One word ("Allergies:") is not told from prose within a line.
    expected = [name for name in dict.fromkeys(ELECTRONIC_NAMES) if name != "Allergies"]
    assert list(dict.fromkeys(names(line))) == expected
    assert found["Past History"] == "Past Medical History: 1. COPD 2. Hysterectomy "
    assert found["Discharge Diagnosis"].startswith("Discharge Diagnosis: PRIMARY DIAGNOSIS: COPD")
    assert found["Discharge Condition"] == "Discharge Condition: Good "


def test_a_dictated_summary_with_an_addendum():
    assert names(DICTATED) == [
        *("Header", "History of Present Illness", "Past History", "Admission Medications", "Physical Exam"),
        *("Hospital Course", "Discharge Condition", "Discharge Medications", "Discharge Diagnosis", "Follow-up"),
        *("Signature", "Hospital Course", "Discharge Diagnosis"),
    ]
    found = parts(DICTATED)
    assert "past medical history: see the chart" in found["History of Present Illness"], "a wrapped line of prose"
    assert (
        found["Past History"]
        == "PAST MEDICAL HISTORY (per family):  Diabetes; gout.\n\nPAST SURGICAL HISTORY:  None.\n\n"
    )
    assert "Disposition and family" in found["Hospital Course"]
    assert found["Follow-up"].startswith("FOLLOW-UP PLANS\n:  In two weeks.")


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Discharge Diagnosis:", "Discharge Diagnosis"),
        ("DISCHARGE DIAGNOSES:", "Discharge Diagnosis"),
        ("FINAL DIAGNOSES", "Discharge Diagnosis"),
        ("Major Surgical or Invasive Procedure:", "Procedure"),
        ("OPERATIONS/PROCEDURES:", "Procedure"),
        ("Procedures Performed:", "Procedure"),
        ("HISTORY OF PRESENT ILLNESS:", "History of Present Illness"),
        ("HPI:", "History of Present Illness"),
        ("HISTORY OF PRESENT ILLNESS -", "History of Present Illness"),
        ("PMH/PSH:", "Past History"),
        ("Past Medical & Surgical History:", "Past History"),
        ("PAST ONCOLOGIC HISTORY:", "Past History"),
        ("Brief Hospital Course:", "Hospital Course"),
        ("HOSPITAL COURSE BY SYSTEM:", "Hospital Course"),
        ("SUMMARY OF HOSPITAL COURSE BY SYSTEMS:", "Hospital Course"),
        ("[**Hospital1 18**] Course:", "Hospital Course"),
        ("MICU COURSE:", "Hospital Course"),
        ("COURSE IN HOSPITAL:", "Hospital Course"),
        ("REASON FOR ADMISSION:", "Chief Complaint"),
        ("CC:", "Chief Complaint"),
        ("Physical Exam:", "Physical Exam"),
        ("PHYSICAL EXAM ON [**7-4**]:", "Physical Exam"),
        ("Admission PE:", "Physical Exam"),
        ("DISCHARGE EXAM:", "Physical Exam"),
        ("MEDICATIONS ON DISCHARGE:", "Discharge Medications"),
        ("Discharge Meds:", "Discharge Medications"),
        ("D/C MEDICATIONS:", "Discharge Medications"),
        ("MEDICATIONS AT THE TIME OF DISCHARGE:", "Discharge Medications"),
        ("Medications on Admission:", "Admission Medications"),
        ("Home Medications:", "Admission Medications"),
        ("Preadmission medications:", "Admission Medications"),
        ("MEDICATIONS PRIOR TO ADMISSION:", "Admission Medications"),
        ("DISCHARGE DISPOSITION:", "Disposition"),
        ("  Disposition :", "Disposition"),
        ("Discharge Instructions:", "Discharge Instructions"),
        ("Followup Instructions:", "Follow-up"),
        ("FOLLOW-UP:", "Follow-up"),
        ("Follow up appointments:", "Follow-up"),
        ("PERTINENT LABORATORY DATA:", "Pertinent Results"),
        ("LABS ON ADMISSION:", "Pertinent Results"),
        ("discharge diagnosis:", "Discharge Diagnosis"),
        ("DISCHARGE CONDITION", "Discharge Condition"),
        ("4. DISCHARGE DIAGNOSES:", "Discharge Diagnosis"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_headings_as_they_are_written(heading, name, ending):
    text = f"Some words before.{ending}{ending}{heading} {ending}and what follows{ending}"
    sections = split_sections(text)
    assert [section.name for section in sections] == [PREAMBLE, name]
    assert text[: sections[0].end].endswith(ending), "a heading takes its line with it"


@pytest.mark.parametrize(
    "text",
    [
        "Cough and fever. No discharge diagnosis was made.",
        "See History of Present Illness: nothing to add.",
        "refer to his Discharge Medications: three of them",
        "She tolerated the procedure: no bleeding.",
        "PE: a clot in the right artery",
        "Neurologic examination: intact",
        "the cause of the\ndisposition: a home with stairs",
        "the rest is in the\nhistory of present illness\nabove",
        "[**Discharge Diagnosis: 1**] was removed",
        "SEXUAL HISTORY: none taken. CLINICAL HISTORY: cough.",
        "Course was complicated by: fever",
        "2. Disposition: she waited for a bed. # Labs: daily",
        ":::",
        " \n ",
    ],
)
def test_false_friends(text):
    assert names(text) == [PREAMBLE]


def test_no_text_has_no_sections():
    assert split_sections("") == ()


def test_every_example_and_invented_note_is_divided_at_its_headings():
    notes = [path.read_text() for path in sorted((ROOT / "examples" / "discharge").glob("*.txt"))]
    notes += [coded.note.text for coded in synthetic_notes(notes=60, seed=5)]
    for text in notes:
        starts = {section.start for section in split_sections(text)}
        for match in re.finditer(r"(?m)^([A-Z][A-Za-z-]*(?: [A-Za-z-]+){0,4}):", text):
            assert match.start() in starts, f"{match[1]} was not seen"
        assert {"Hospital Course", "History of Present Illness"} <= set(names(text))


PIECES = (
    *(
        "Discharge Diagnosis",
        "HPI",
        "COURSE",
        "past medical history",
        "Labs",
        "Medications",
        "on Admission",
        "[**",
        "**]",
    ),
    *("(", ")", ":", "\n", "\r\n", " ", ". ", " - ", "/", "the ", "x", "é", "\u2028", "1.", "# "),
)
WRITTEN = st.lists(st.sampled_from(PIECES)).map("".join)


@given(st.one_of(WRITTEN, st.text()))
def test_every_character_belongs_to_exactly_one_section(text):
    sections = split_sections(text)
    assert "".join(text[section.start : section.end] for section in sections) == text
    assert all(section.start < section.end for section in sections)
    assert all(one.name != other.name for one, other in pairwise(sections))
    assert PREAMBLE not in [section.name for section in sections[1:]]


SIZES = st.lists(st.tuples(st.sampled_from([*STANDARD, "Header", "Labs", PREAMBLE]), st.integers(0, 30)), max_size=12)


@given(SIZES, st.integers(1, 200), st.integers(0, 2))
def test_what_is_kept_fits_and_nothing_useful_gives_way_to_something_less_useful(sized, room, cut_costs):
    sections, sizes = [Section(name, 0, 0) for name, _ in sized], [size for _, size in sized]
    kept = keep_sections(sections, sizes, room, cut_costs)
    assert sum(kept) <= room
    assert all(0 <= tokens <= size for tokens, size in zip(kept, sizes, strict=True))
    if sum(sizes) <= room:
        assert kept == sizes
    order = [*STANDARD, "the rest"]
    rank = [order.index(section.name) if section.name in STANDARD else len(STANDARD) for section in sections]
    for one, mine in enumerate(rank):
        for other, theirs in enumerate(rank):
            if (mine, one) < (theirs, other) and kept[one] < sizes[one]:
                assert kept[other] == 0


def test_the_sentence_names_what_was_cut():
    text = "HPI: x\nHOSPITAL COURSE: y\nLABS: z\nSOCIAL HISTORY: w\nADDENDUM: v"
    sections, sizes = split_sections(text), [4, 10, 1_500, 3, 5]
    assert keep_sections(sections, sizes, 16, 1) == [0, 10, 0, 0, 5]
    assert keep_sections(sections, sizes, 14, 1) == [0, 10, 0, 0, 3]
    kept = keep_sections(sections, sizes, 1_200, 1)
    assert kept == [4, 10, 1_180, 0, 5]
    assert what_was_cut(sections, sizes, kept, 8192) == (
        "to fit 8,192 tokens, left out: Social History; "
        "Pertinent Results was cut at its end (1,180 of 1,500 tokens read)"
    )
    assert what_was_cut(sections, sizes, [4, 10, 0, 3, 0], 99) == (
        "to fit 99 tokens, left out: Pertinent Results, Hospital Course (2 of 2)"
    )
    assert what_was_cut(sections, sizes, [4, 10, 1_500, 3, 1], 99) == (
        "to fit 99 tokens, Hospital Course (2 of 2) was cut at its end (1 of 5 tokens read)"
    )
    assert what_was_cut(sections, sizes, sizes, 99) is None
