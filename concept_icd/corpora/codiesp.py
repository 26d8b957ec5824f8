"""CodiEsp: 1,000 Spanish clinical cases, their machine translation into English, ICD-10 codes and their passages.

Miranda-Escalada et al. 2020, "Overview of automatic clinical coding: annotations, guidelines, and solutions for
non-English clinical cases at CodiEsp track of CLEF eHealth 2020"; corpus v4, Zenodo 3837305, CC BY 4.0. A folder is
either the published one (train/trainD.tsv, trainP.tsv, trainX.tsv, train/text_files/ID.txt in Spanish and
train/text_files_en/ID.txt, and so for dev and test) or holds the same as JSON lines (train.jsonl.gz ...: id, text_es,
text_en, dx, proc; beside them trainX.tsv.gz ...).

The codes were annotated in the text; the order in which they are listed tells nothing of billing, so they are also the
note's annotations, which makes them a set (`CodedNote.in_billing_order`). The passages (the track's task X) are those
of the Spanish text; the translation has none. The corpus itself is not part of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from concept_icd.artifacts import loads
from concept_icd.corpora.equivalence_maps import EquivalenceMaps
from concept_icd.corpora.reading import decode, flaw
from concept_icd.errors import InputError
from concept_icd.files import read_bytes
from concept_icd.records import CodedNote, Mention, Note, OneLine

SPLITS = ("train", "dev", "test")
Language = Literal["en", "es"]
#: Of the published folder.
_TEXTS: dict[Language, str] = {"en": "text_files_en", "es": "text_files"}
#: The name under which the corpus' coders stand in `CodedNote.annotations`.
CODERS = "CODIESP"


@dataclass(frozen=True, repr=False)
class Case(OneLine):
    """A case as published: codes in lower case, dotted, as listed, without repeats; passages in Spanish text alone."""

    case_id: str
    split: str
    text: str
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]
    evidence: tuple[Mention, ...] = ()


def read_codiesp(folder: str | Path, maps: str | Path) -> list[CodedNote]:
    """The cases with their diagnoses in ICD-9-CM, in the order of the files.

    Args:
        maps: the folder of the equivalence tables (`equivalence_maps`).

    Raises:
        InputError: a file is missing or damaged, a case without text, an id twice.
    """
    tables = EquivalenceMaps(maps)
    return [coded_note(case, tables) for case in read_cases(Path(folder))]


def coded_note(case: Case, maps: EquivalenceMaps) -> CodedNote:
    """A case with every ICD-9-CM code that its diagnoses were carried to, each once, in the order of the listing."""
    codes = tuple(dict.fromkeys(code for listed in case.diagnoses for code in maps.carry(listed).codes))
    return CodedNote(Note(case.case_id, case.text), diagnoses=codes, annotations={CODERS: codes}, split=case.split)


def read_cases(folder: Path, language: Language = "en") -> list[Case]:
    """The cases of all three splits; in Spanish with the passages of their codes, where the folder has them.

    Raises:
        InputError: see `read_codiesp`.
    """
    cases: dict[str, Case] = {}
    for split in SPLITS:
        passages = _passages(folder, split) if language == "es" else {}
        for case in _of_split(folder, split, language):
            case = replace(case, evidence=passages.get(case.case_id, ()))
            if any(mention.spans[-1][1] > len(case.text) for mention in case.evidence):
                raise InputError(f"{folder}, case {case.case_id!r}: a passage of {split}X.tsv ends after the text")
            if reason := flaw(case.text):
                raise InputError(f"{folder}, case {case.case_id!r}: {reason}")
            if case.case_id in cases:
                raise InputError(f"{folder}, case {case.case_id!r}: it stands twice, in {split} the second time")
            cases[case.case_id] = case
    return list(cases.values())


def files_of(folder: Path, language: Language = "en") -> list[Path]:
    """The files that `read_cases` reads, for hashes."""
    names = [_lines_of(folder, split) for split in SPLITS]
    if lines := [path for path in names if path is not None]:
        return lines + [path for split in SPLITS if language == "es" and (path := _table_of(folder, split))]
    published = [path for split in SPLITS for path in sorted((folder / split).rglob("*")) if path.is_file()]
    return [path for path in published if path.suffix == ".tsv" or path.parent.name == _TEXTS[language]]


def _of_split(folder: Path, split: str, language: Language) -> Iterator[Case]:
    if path := _lines_of(folder, split):
        return _from_lines(path, split, language)
    if (folder / split / f"{split}D.tsv").is_file():
        return _as_published(folder / split, split, language)
    raise InputError(
        f"{folder} holds no {split} part of CodiEsp: neither {split}.jsonl.gz nor {split}/{split}D.tsv with "
        f"{split}/{_TEXTS[language]}; name the folder final_dataset_v4_to_publish"
    )


def _lines_of(folder: Path, split: str) -> Path | None:
    return next((path for end in (".jsonl.gz", ".jsonl") if (path := folder / f"{split}{end}").is_file()), None)


def _table_of(folder: Path, split: str) -> Path | None:
    places = (folder / f"{split}X.tsv.gz", folder / f"{split}X.tsv", folder / split / f"{split}X.tsv")
    return next((path for path in places if path.is_file()), None)


def _passages(folder: Path, split: str) -> dict[str, tuple[Mention, ...]]:
    """Case -> the passages of its codes, in the order of the text; nothing where the folder lacks the table."""
    found: dict[str, list[Mention]] = {}
    path = _table_of(folder, split)
    for number, line in enumerate(_text_of(path).splitlines() if path else (), 1):
        try:
            case, _, code, _, places = line.split("\t")
            spans = sorted((int(start), int(end)) for start, end in map(str.split, places.split(";")))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: not a case, a label, a code, a passage and its places; fetch the file again"
            ) from error
        found.setdefault(case, []).append(Mention(code.strip().lower(), tuple(spans)))
    return {case: tuple(sorted(own, key=lambda mention: mention.spans)) for case, own in found.items()}


def _from_lines(path: Path, split: str, language: Language) -> Iterator[Case]:
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        try:
            row: dict[str, Any] = loads(line)
            diagnoses, procedures = (tuple(dict.fromkeys(map(str.lower, row[field]))) for field in ("dx", "proc"))
            yield Case(row["id"], split, row[f"text_{language}"], diagnoses, procedures)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: not a case with id, text_{language}, dx and proc; fetch the file again"
            ) from error


def _as_published(folder: Path, split: str, language: Language) -> Iterator[Case]:
    of_diagnoses, of_procedures = (_listed(folder / f"{split}{kind}.tsv") for kind in "DP")
    texts = sorted((folder / _TEXTS[language]).glob("*.txt"))
    if missing := sorted(of_diagnoses.keys() - {path.stem for path in texts}):
        raise InputError(f"{folder / _TEXTS[language]} lacks {missing[0]}.txt, a case of {split}D.tsv")
    for path in texts:
        diagnoses, procedures = (
            tuple(dict.fromkeys(table.get(path.stem, ()))) for table in (of_diagnoses, of_procedures)
        )
        yield Case(path.stem, split, _text_of(path), diagnoses, procedures)


def _listed(path: Path) -> dict[str, list[str]]:
    """Case -> its codes, of a table with a case and a code a line."""
    listed: dict[str, list[str]] = {}
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise InputError(f"{path}, line {number}: not a case and a code, parted by a tab; fetch the file again")
        listed.setdefault(fields[0], []).append(fields[1].strip().lower())
    return listed


def _text_of(path: Path) -> str:
    data = read_bytes(path)
    try:
        return decode(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
