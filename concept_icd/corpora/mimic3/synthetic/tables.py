"""Writes the tables of MIMIC-III, and the admission lists of its benchmarks, for patients that nobody ever was.

Everything that trips up a reader of MIMIC-III is in them: codes with leading zeros, rows out of order, gaps in
SEQ_NUM, NULLs, codes twice in a stay, retired codes without a title, addenda, erroneous notes, notes without a stay,
stays without a summary, summaries without codes, births three centuries early, quotes and line breaks in the text.
Rows are streamed, so the full size needs little memory; the same seed and options give the same bytes.

    >>> from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
    >>> write_synthetic_mimic3("mimic", stays=60, seed=0)["stays"]
    60
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from concept_icd.corpora.mimic3.synthetic.admissions import admission_row, patient_row, prescription_rows
from concept_icd.corpora.mimic3.synthetic.billing import draw_billing, raw_spelling, tail
from concept_icd.corpora.mimic3.synthetic.files import COLUMNS, TableFile, write_lines
from concept_icd.corpora.mimic3.synthetic.stays import SPLITS, Patient, Stay, draw_patients
from concept_icd.corpora.mimic3.synthetic.summaries import OtherNotes, SummaryWriter
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, TASKS
from concept_icd.corpora.synthetic.cases import Case
from concept_icd.corpora.synthetic.cases import Patient as CasePatient
from concept_icd.corpora.synthetic.language import Dice
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import new_folder
from concept_icd.progress import progress_bar
from concept_icd.records import Kind

#: Rows of notes other than discharge summaries for each stay, where nobody asks for a number. MIMIC-III has 34.
NOTES_PER_STAY = 4
#: Rows between two looks at the progress bar.
STEP = 1000
#: Rows of codes and of summaries that are shuffled among each other.
MIX = {
    "DIAGNOSES_ICD": 2000,
    "PROCEDURES_ICD": 2000,
    "PRESCRIPTIONS": 2000,
    "ADMISSIONS": 500,
    "PATIENTS": 500,
    "NOTEEVENTS": 200,
}

README = """Tables in the shape of MIMIC-III v1.4, written by concept-icd synth mimic3: seed {seed}, {stays} stays.
No patient, stay, code or note in them is real, and nothing in them comes from MIMIC-III.
"""


def write_synthetic_mimic3(
    out: str | Path,
    stays: int = 200,
    seed: int = 0,
    *,
    note_rows: int | None = None,
    summary_length: int = 10_000,
    unknown_ids: int = 0,
    compress: bool = False,
    upper_case: bool = True,
    overwrite: bool = False,
) -> dict[str, int]:
    """Writes a folder of tables and, under `splits`, the lists of CAML, Edin et al. and KEPT for them.

    Args:
        stays: admissions, of which nine in ten have a summary. seed: another seed gives other patients.
        note_rows: rows of NOTEEVENTS in all; by default the summaries and `NOTES_PER_STAY` others a stay.
        summary_length: mean number of characters of a discharge summary.
        unknown_ids: so many admissions in the training lists are in no table.
        compress: .csv.gz instead of .csv.
        upper_case: headers in capitals and every text quoted, as MIMIC-III; else as its open demo.

    Returns:
        Numbers of patients, stays, summaries (stays that have one), and of the rows of each table.

    Raises:
        InputError: `out` exists, too few or too many stays, fewer note rows than there are summaries.
    """
    patients = draw_patients(stays, seed)
    with new_folder(out, "synth", overwrite=overwrite) as folder, ExitStack() as stack:
        tables = {
            name: stack.enter_context(
                TableFile(folder, name, compress=compress, upper_case=upper_case, seed=seed, mix=MIX.get(name, 0))
            )
            for name in COLUMNS
        }
        everyone = [stay for patient in patients for stay in patient.stays]
        billed = _write_stays(patients, tables, SummaryWriter(seed, summary_length), seed, stays)
        summaries = tables["NOTEEVENTS"].written
        others = NOTES_PER_STAY * stays if note_rows is None else note_rows - summaries
        if others < 0:
            raise InputError(f"--note-rows {note_rows} is less than the {summaries} rows of discharge summaries alone")
        _write_other_notes(everyone, tables["NOTEEVENTS"], seed, others)
        _write_dictionaries(tables)
        write_lists(folder / "splits", everyone, billed, unknown_ids, seed)
        write_lines(folder / "README.txt", README.format(stays=stays, seed=seed).splitlines())
        counts = {name.lower(): table.written for name, table in tables.items()}
    summarized = sum(stay.summarized for stay in everyone)
    return {"patients": len(patients), "stays": stays, "summarized_stays": summarized, **counts}


def _write_stays(
    patients: list[Patient], tables: Mapping[str, TableFile], writer: SummaryWriter, seed: int, stays: int
) -> dict[int, tuple[str, ...]]:
    """All rows of all stays but other notes; returns HADM_ID -> its codes."""
    billed: dict[int, tuple[str, ...]] = {}
    with progress_bar(stays, "writing stays", "stays") as bar:
        for patient in patients:
            dice = Dice(f"{seed} patient {patient.subject_id}")
            state = CasePatient(patient.stays[0].age, patient.sex)
            tables["PATIENTS"].write(*patient_row(patient))
            for stay in patient.stays:
                case = draw_billing(stay, state, dice)
                tables["ADMISSIONS"].write(*admission_row(stay, case, dice))
                if stay.coded:
                    billed[stay.hadm_id] = (*case.diagnoses, *case.procedures)
                _write_codes(stay, case, tables, dice)
                for row in prescription_rows(stay, case, dice):
                    tables["PRESCRIPTIONS"].write(*row)
                if stay.summarized:
                    _write_summary(stay, case, tables["NOTEEVENTS"], writer, dice)
                bar.advance()
    return billed


def _write_codes(stay: Stay, case: Case, tables: Mapping[str, TableFile], dice: Dice) -> None:
    """One row a code; some twice, some numbers left out, some NULL."""
    ids = stay.patient.subject_id, stay.hadm_id
    if not stay.coded:
        tables["DIAGNOSES_ICD"].write(*ids, None, None)  # as MIMIC-III has it for stays without a bill
        return
    for name, codes in (("DIAGNOSES_ICD", case.diagnoses), ("PROCEDURES_ICD", case.procedures)):
        number = 0
        repeated = [code for code in codes if dice.chance(0.02)]
        last = codes[-1:] if len(codes) > 1 and dice.chance(0.03) else ()  # without a number, so after all others
        numbered = codes[: len(codes) - len(last)]
        for code in (*numbered, *(code for code in repeated if code not in last)):
            number += 2 if number and dice.chance(0.01) else 1
            tables[name].write(*ids, number, raw_spelling(code))
        if codes and dice.chance(0.03):
            tables[name].write(*ids, number + 1, None)
        for code in last:
            tables[name].write(*ids, None, raw_spelling(code))


def _write_summary(stay: Stay, case: Case, notes: TableFile, writer: SummaryWriter, dice: Dice) -> None:
    """The report; now and then another one entered in error, a second report, or addenda of later days."""
    left = stay.discharged

    def write(description: str, days: int, error: str | None, text: str) -> None:
        date = f"{left + timedelta(days=days):%Y-%m-%d}"
        ids = stay.patient.subject_id, stay.hadm_id
        notes.write(*ids, date, None, None, "Discharge summary", description, None, error, text)

    write("Report", 0, None, writer.write(stay, case, dice))
    if dice.chance(0.03):
        write("Report", 0, "1", "ENTERED IN ERROR, this is the summary of somebody else.\n")
    if dice.chance(0.02):
        write("Report", 1 + int(dice.roll() * 5), None, writer.write(stay, case, dice))
    for number in range(dice.pick_weighted({0: 0.88, 1: 0.09, 2: 0.03})):
        write("Addendum", 6 * number + int(dice.roll() * 6), None, writer.addendum(stay, case, dice))


def _write_other_notes(stays: list[Stay], notes: TableFile, seed: int, rows: int) -> None:
    dice = Dice(f"{seed} other notes")
    others = OtherNotes(Dice(f"{seed} pool"))
    with progress_bar(rows, "writing other notes", "rows") as bar:
        for start in range(0, rows, STEP):
            step = min(STEP, rows - start)
            for _ in range(step):
                notes.write(*others.draw(stays[int(dice.roll() * len(stays))], dice))
            bar.advance(step)


def _write_dictionaries(tables: Mapping[str, TableFile]) -> None:
    """The billable codes of the ontology with titles; a few frequent codes have no row, a few no long title."""
    ontology = load_ontology()
    kinds: dict[str, Kind] = {"D_ICD_DIAGNOSES": "diagnosis", "D_ICD_PROCEDURES": "procedure"}
    for name, kind in kinds.items():
        without_row, without_title = tail(kind)[2:12:4], tail(kind)[4:14:4]
        for code in ontology.codes(kind):
            if code not in without_row:
                title = ontology.title(code)
                tables[name].write(raw_spelling(code), title[:24].strip(), None if code in without_title else title)


# Writes the admission lists of the benchmarks for the synthetic MIMIC-III, in the layouts of those who published them.
#
# CAML: `{train,dev,test}_{50,full}_hadm_ids.csv`, one id a line. Edin et al.: `_id,split` with "val" for dev. KEPT:
# `{train,dev,test}_ids.csv` with patients. No patient is in two splits of a list; the rare50 lists keep CAML's splits.

#: No admission of any table has these.
FIRST_UNKNOWN = 990_001
#: Edin et al. keep codes of so many stays.
FEWEST_OF_A_CODE = 10


def write_lists(
    folder: Path, stays: Sequence[Stay], billed: Mapping[int, tuple[str, ...]], unknown_ids: int, seed: int
) -> None:
    """Writes all lists.

    Args:
        billed: HADM_ID -> dotted codes. unknown_ids: admissions without rows that go into every training list.

    Raises:
        InputError: a list would be empty.
    """
    listed = Dice(f"{seed} lists").shuffled([stay for stay in stays if stay.listed])
    unknown = [(0, FIRST_UNKNOWN + number) for number in range(unknown_ids)]
    fifty = set(MIMIC3_50)
    frequent = Counter(code for stay in listed for code in set(billed[stay.hadm_id]))
    clean = ["_id,split", *(f"{hadm_id},train" for _, hadm_id in unknown)]
    for split in SPLITS:
        extra = unknown if split == "train" else []
        here = [stay for stay in listed if stay.patient.split == split]
        top = [s for s in here if not fifty.isdisjoint(billed[s.hadm_id])]
        _write(folder / f"caml/{split}_full_hadm_ids.csv", [], here, extra)
        _write(folder / f"caml/{split}_50_hadm_ids.csv", [], top[: TASKS["mimic3-50"].stays[split]], extra)
        rare = [stay for stay in here if stay.rare]
        _write(folder / f"kept_rare50/{split}_ids.csv", ["subject_id,hadm_id"], rare, extra)
        clean += [
            f"{stay.hadm_id},{'val' if split == 'dev' else split}"
            for stay in listed
            if stay.patient.clean_split == split
            and any(frequent[code] >= FEWEST_OF_A_CODE for code in billed[stay.hadm_id])
        ]
    write_lines(folder / "edin/mimiciii_clean_splits.csv.gz", clean)


def _write(path: Path, header: list[str], stays: Sequence[Stay], unknown: Sequence[tuple[int, int]]) -> None:
    if not stays:
        raise InputError(f"--stays is too small: {path.parent.name}/{path.name} would be empty; ask for more stays")
    ids = [*((stay.patient.subject_id, stay.hadm_id) for stay in stays), *unknown]
    write_lines(path, [*header, *(f"{subject},{hadm}" if header else str(hadm) for subject, hadm in ids)])
