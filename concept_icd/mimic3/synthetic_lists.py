"""Writes the admission lists of the benchmarks for the synthetic MIMIC-III, in the layouts of those who published them.

CAML: `{train,dev,test}_{50,full}_hadm_ids.csv`, one id a line. Edin et al.: `_id,split` with "val" for dev. KEPT:
`{train,dev,test}_ids.csv` with patients. No patient is in two splits of a list; the rare50 lists keep CAML's splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from concept_icd.corpora.synthetic_language import Dice
from concept_icd.errors import InputError
from concept_icd.mimic3.synthetic_files import write_lines
from concept_icd.mimic3.synthetic_stays import SPLITS, Stay
from concept_icd.mimic3.tasks import MIMIC3_50, TASKS

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
