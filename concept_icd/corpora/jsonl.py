"""Notes as JSON lines, one note a line, plain or gzipped: the package's own exchange format.

    {"note_id": "a1", "text": "...", "patient_id": "p7", "age": 71, "sex": "F", "drugs": ["furosemide"],
     "diagnoses": ["428.0", "4019"], "procedures": ["3893"], "annotations": {"A": ["428.0"]}, "split": "train"}

Only `note_id` and `text` are required; where the first line calls them as others often do (`GUESSES`), they are taken
from there, and that is said. Instead of `diagnoses` and `procedures` a line may have `codes`, dotted, in billing order;
codes without a dot are accepted only where the field says their kind. `principal` names the principal diagnosis where
it is not the first of the diagnoses, because a label set left it out. Other fields are ignored, unless their name looks
like a misspelling of one of these.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concept_icd.corpora.reading import Entry, Failure, decode, flaw, strictly, without_duplicates
from concept_icd.errors import InputError
from concept_icd.files import LONGEST, byte_lines, printable
from concept_icd.ontology.code_checks import require_had
from concept_icd.ontology.tree import DEFAULT, Ontology, load_ontology
from concept_icd.progress import say
from concept_icd.records import CodedNote, Kind, Mention, Note, age_of, sex_of

FIELDS = (
    *("note_id", "text", "patient_id", "age", "sex", "drugs"),
    *("diagnoses", "procedures", "codes", "annotations", "split", "principal", "evidence"),
)

#: What others call the field of gold codes, in lower case (CAML, KEPT, Edin et al., data sets of Hugging Face).
CODE_NAMES = (
    *("labels", "label", "icd9_codes", "icd9_code", "icd9", "icd_codes", "icd_code", "target", "targets"),
    *("gold", "gold_codes", "ground_truth"),
)

#: Field -> names that mean it, in lower case, the surest first.
GUESSES: Mapping[str, tuple[str, ...]] = {
    "note_id": (
        "noteid",
        "id",
        "_id",
        "document_id",
        "doc_id",
        "hadm_id",
        "stay_id",
        "visit_id",
        "row_id",
        "file_name",
    ),
    "text": ("note_text", "note", "report", "report_text", "body", "content", "transcription", "document", "summary"),
    "patient_id": ("subject_id", "person_id", "patientid", "patient"),
    "sex": ("gender",),
    "drugs": ("medications", "drug"),
    "codes": ("code", *CODE_NAMES),
}


def read_jsonl(
    path: str | Path, columns: Mapping[str, str] | None = None, classification: str = DEFAULT
) -> list[CodedNote]:
    """The notes of a `.jsonl` or `.jsonl.gz` file, in its order.

    Args:
        columns: one of `FIELDS` -> the file's name for it, where that is another.

    Raises:
        InputError: no such file, a malformed line, an id twice, an empty note, a code that no edition had.
    """
    return strictly(entries(Path(path), columns, classification))


def entries(path: Path, columns: Mapping[str, str] | None = None, classification: str = DEFAULT) -> Iterator[Entry]:
    """One entry a line that is not blank; see `reading`."""
    builder = NoteBuilder(printable(path), columns, classification, guesses=True)

    def numbered() -> Iterator[tuple[str, Entry]]:
        for number, line in byte_lines(path, json=True):
            place = f"{printable(path)}, line {number}"
            if line is None:
                yield place, Failure(place, f"the line has more than {LONGEST >> 20} MiB; no note is that long")
            elif line.strip():
                yield place, _entry(place, line, builder)
        builder.say_what_was_not_read()

    return without_duplicates(numbered())


def _entry(place: str, line: bytes, builder: NoteBuilder) -> Entry:
    try:
        record = json.loads(decode(line))
    except InputError as error:
        return Failure(place, str(error))
    except (ValueError, RecursionError) as error:
        column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return Failure(place, f"malformed JSON{column}; each line must be one JSON object")
    return builder.entry(place, record)


class NoteBuilder:
    """Makes notes of records, whatever they were read from, and remembers which fields with codes nobody read."""

    def __init__(
        self,
        where: str,
        columns: Mapping[str, str] | None = None,
        classification: str = DEFAULT,
        *,
        guesses: bool = False,
    ) -> None:
        """The builder for one file.

        Args:
            columns: one of `FIELDS` -> the name that the records have for it, where that is another.
            guesses: look for ids and texts by other names too.
        """
        self._guesses = guesses
        self._where, self._columns, self._ontology = where, dict(columns or {}), load_ontology(classification)
        self._unread = UnreadCodes(where, self._ontology)

    def entry(self, place: str, record: Any) -> Entry:
        """The note of a record, or why there is none."""
        note_id = None
        try:
            if not isinstance(record, dict):
                raise InputError(f"a JSON object is needed, not {_name(record)}")
            if self._guesses:
                self._guess(record)
            record = self._renamed(record)
            note_id = _string(record, "note_id", required=True)
            coded = _coded_note(record, self._ontology)
        except InputError as error:
            return Failure(place, str(error), note_id)
        self._unread.look(record)
        return coded

    def _guess(self, record: dict[str, Any]) -> None:
        """Takes the first record's field for the id or the text by its name, where none is called so."""
        self._guesses = False
        lower = {name.lower(): name for name in reversed(list(record))}
        for field in ("note_id", "text"):
            names = () if field in record or field in self._columns else (field, *GUESSES[field])
            if name := next((lower[other] for other in names if other in lower), None):
                self._columns[field] = name
                say(f"{self._where}: {field} from {name!r}, by its name; --id-column and --text-column choose another")

    def _renamed(self, record: dict[str, Any]) -> dict[str, Any]:
        if not self._columns:
            return record
        missing = [name for name in self._columns.values() if name not in record]
        if missing:
            raise InputError(f"it has no field {missing[0]!r}")
        taken = set(self._columns.values())
        kept = {name: value for name, value in record.items() if name not in taken and name not in self._columns}
        return kept | {field: record[name] for field, name in self._columns.items()}

    def say_what_was_not_read(self) -> None:
        """See `UnreadCodes.say`."""
        self._unread.say(option="--codes-column")


class UnreadCodes:
    """Fields that hold codes and were not read: gold that is left out without a word is lost."""

    def __init__(self, where: str, ontology: Ontology) -> None:
        self._where, self._ontology = where, ontology
        self._records, self._found = 0, Counter[str]()

    def look(self, record: Mapping[str, Any]) -> None:
        """Counts the fields of a record that was read that are not of `FIELDS` and hold codes."""
        self._records += 1
        unknown = record.keys() - set(FIELDS)
        self._found.update(name for name in unknown if _holds_codes(name, record[name], self._ontology))

    def say(self, option: str | None = None) -> None:
        """Names the fields; `option`: of the command line, that would read one."""
        for name, number in self._found.items():
            say(
                f"{self._where}: the field {name!r} holds {self._ontology.full_name} codes in {number} of "
                f"{self._records} notes and is not read; rename it to 'codes' (or 'diagnoses', 'procedures')"
                + (f", or pass {option} {name}" if option else "")
            )


def _holds_codes(name: str, value: Any, ontology: Ontology) -> bool:
    """Whether a field holds a list of codes, or codes joined by semicolons or commas, or is called as gold is."""
    if name.lower() in CODE_NAMES and isinstance(value, (str, list)):
        return bool(value)
    listed = re.split(r"[;,|]\s*", value) if isinstance(value, str) and len(value) < 1000 else value
    if not isinstance(listed, list) or not listed:
        return False
    if isinstance(value, str) and len(listed) < 2 and not re.search("icd|diag|proc", name, re.IGNORECASE):
        return False  # a number such as 37.5 is a procedure too
    return all(isinstance(item, str) and _is_code(item.strip(), ontology) for item in listed)


def _is_code(text: str, ontology: Ontology) -> bool:
    kinds: tuple[Kind, ...] = ("diagnosis", "procedure")
    for kind in kinds:
        try:
            code = ontology.parse(text, kind)
        except InputError:
            continue
        if code in ontology and (ontology.billable(code) or "." in text):
            return True
    return False


def _coded_note(record: dict[str, Any], ontology: Ontology) -> CodedNote:
    for name in record.keys() - set(FIELDS):
        if near := difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.8):
            raise InputError(f"unknown field {name!r}: is {near[0]!r} meant?")
    note = Note(
        note_id=_string(record, "note_id", required=True) or "",
        text=_string(record, "text", required=True) or "",
        patient_id=_string(record, "patient_id"),
        age=_age(record.get("age")),
        sex=sex_of(record.get("sex")),
        drugs=_strings(record.get("drugs"), "drugs"),
    )
    if reason := flaw(note.text):
        raise InputError(reason)
    diagnoses = _codes(record.get("diagnoses"), "diagnoses", ontology, "diagnosis")
    procedures = _codes(record.get("procedures"), "procedures", ontology, "procedure")
    if record.get("codes") is not None:
        if diagnoses or procedures:
            raise InputError("give either 'codes' or 'diagnoses' and 'procedures', not both")
        codes = _codes(record["codes"], "codes", ontology)
        diagnoses = tuple(code for code in codes if ontology.kind(code) == "diagnosis")
        procedures = tuple(code for code in codes if ontology.kind(code) == "procedure")
    named = record.get("principal")
    principal = _codes(None if named is None else [named], "principal", ontology, "diagnosis")
    annotations = record.get("annotations")
    if annotations is not None and not isinstance(annotations, dict):
        raise InputError(f"'annotations' must be an object of lists of codes, not {_name(annotations)}")
    return CodedNote(
        note,
        diagnoses,
        procedures,
        annotations={name: _codes(codes, "annotations", ontology) for name, codes in (annotations or {}).items()},
        split=_split(record),
        principal=principal[0] if principal else None,
        evidence=_evidence(record.get("evidence"), note.text, ontology),
    )


def _evidence(value: Any, text: str, ontology: Ontology) -> tuple[Mention, ...]:
    """`[{"code": "486", "spans": [[17, 26]]}, ...]`, in the order of the text."""
    found = []
    for mention in value or ():
        try:
            spans = tuple(sorted((int(start), int(end)) for start, end in mention["spans"]))
            sound = bool(spans) and all(0 <= start < end <= len(text) for start, end in spans)
            code = mention["code"]
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise InputError(
                '\'evidence\' must be a list of {"code": ..., "spans": [[start, end], ...]} with places inside the text'
            )
        found.append(Mention(ontology.parse(code), spans))
    return tuple(sorted(found, key=lambda mention: mention.spans))


def _codes(values: Any, field: str, ontology: Ontology, kind: Kind | None = None) -> tuple[str, ...]:
    """Dotted codes in their order; a repeat is dropped, as billing tables hold some."""
    codes = []
    for text in _strings(values, field):
        code = ontology.parse(text, kind)
        if kind is not None and ontology.kind(code) != kind:
            raise InputError(f"{code} in {field!r} is a {ontology.kind(code)} code, not a {kind} code")
        codes.append(code)
    if field != "annotations":  # what annotators typed is kept, slips and all
        require_had(codes, ontology, f"codes in {field!r}")
    return tuple(dict.fromkeys(codes))


def _strings(values: Any, field: str) -> tuple[str, ...]:
    if values is None:
        return ()
    if not isinstance(values, list):
        raise InputError(f"{field!r} must be a list of strings, not {_name(values)}")
    for value in values:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise InputError(
                f'{value} in {field!r} is a number: write it as a string ("{value}"), numbers lose leading zeros'
            )
        _check_string(value, field)
    return tuple(values)


def _string(record: dict[str, Any], field: str, *, required: bool = False) -> str | None:
    value = record.get(field)
    if value is None:
        if required:
            option = {"note_id": "; name another with --id-column", "text": "; name another with --text-column"}
            raise InputError(f"the field {field!r} is missing{option.get(field, '')}")
        return None
    _check_string(value, field)
    if field != "text" and not value.strip():
        raise InputError(f"the field {field!r} is empty")
    if field != "text" and "\0" in value:  # no database keeps it
        raise InputError(f"the field {field!r} holds a NUL character")
    return str(value)


def _check_string(value: Any, field: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{field!r} must hold text in quotes, not {_name(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # "\ud800" is valid JSON, but no file can hold it
        raise InputError(f"{field!r} holds half of a surrogate pair at character {error.start}") from error


def _age(value: Any) -> float | None:
    if isinstance(value, str) and value.strip()[:1].isdecimal() and not value.strip().endswith("+"):
        raise InputError("'age' must be a number of years, without quotes")
    return age_of(value)


def _split(record: dict[str, Any]) -> str | None:
    split = _string(record, "split")
    if split not in (None, "train", "dev", "test"):
        raise InputError('\'split\' must be "train", "dev" or "test"')
    return split


def _name(value: Any) -> str:
    """What JSON calls a value's type; what JSON has not, Arrow has."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
