"""The radiology reports of the 2007 Computational Medicine Center challenge: XML, three coders and their majority.

Pestian et al. 2007, "A shared task involving multi-label classification of clinical free text". Gold codes are
those that at least two of three coding companies gave (`CMC_MAJORITY`); what each company gave goes to the
annotations. The reports carry no patient, age or sex. The corpus itself is not part of this package.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from concept_icd.corpora.reading import Entry, Failure, flaw, strictly, without_duplicates
from concept_icd.errors import InputError
from concept_icd.files import opened
from concept_icd.ontology.code_checks import require_had
from concept_icd.ontology.tree import Ontology, load_ontology
from concept_icd.records import CodedNote, Note

#: The organisers' file names and the split that each one is.
SPLITS = {"train.xml": "train", "test_without_codes.xml": "test"}
MAJORITY = "CMC_MAJORITY"


def read_cmc2007(path: str | Path) -> list[CodedNote]:
    """The reports of one XML file, or of the folder that holds `train.xml` and `test_without_codes.xml`.

    The text is the sections under their headings: "CLINICAL HISTORY: ...", a line break, "IMPRESSION: ...".
    The split follows from the organisers' file names.

    Raises:
        InputError: no such file, malformed XML, a report without id or text, a gold code that is no diagnosis.
    """
    return strictly(entries(Path(path)))


def entries(path: Path) -> Iterator[Entry]:
    """One entry a report; see `reading`."""
    files = [path]
    if path.is_dir():
        files = [path / name for name in SPLITS if (path / name).is_file()]
        if not files:
            raise InputError(f"{path} holds none of the CMC 2007 files: {', '.join(SPLITS)}")
    return without_duplicates(pair for file in files for pair in _file_entries(file))


def _file_entries(path: Path) -> Iterator[tuple[str, Entry]]:
    root = _parse(path)
    if root.tag != "docs":
        raise InputError(f"{path} is not a CMC 2007 file: its outermost element is <{root.tag}>, not <docs>")
    ontology = load_ontology("icd9cm")
    for report in root.iter("doc"):
        place = f"{path}, line {report.get('line')}"
        try:
            yield place, _report(report, SPLITS.get(path.name), ontology)
        except InputError as error:
            yield place, Failure(place, str(error), report.get("id"))


def _report(report: ElementTree.Element, split: str | None, ontology: Ontology) -> CodedNote:
    note_id = report.get("id")
    if not note_id:
        raise InputError("the <doc> has no id")
    sections = [
        f"{section.get('type', '').replace('_', ' ')}: {section.text.strip()}"
        for section in report.iterfind("texts/text")
        if section.text and section.text.strip()
    ]
    text = "\n".join(sections)
    if reason := flaw(text):
        raise InputError(reason)
    given: dict[str, dict[str, None]] = {}  # inner dictionaries are ordered sets
    for element in report.iterfind("codes/code"):
        given.setdefault(element.get("origin", ""), {})[(element.text or "").strip()] = None
    gold = dict.fromkeys(ontology.parse(code, kind="diagnosis") for code in given.pop(MAJORITY, {}))
    require_had(gold, ontology, "gold codes")
    # The companies' own codes stay as typed but for stray dots (".786.2", "518."): a slip of one annotator
    # ("27.00") is no reason to refuse the report.
    annotations = {origin: tuple(dict.fromkeys(code.strip(".") for code in given[origin])) for origin in sorted(given)}
    return CodedNote(Note(note_id, text), diagnoses=tuple(gold), annotations=annotations, split=split)


def _parse(path: Path) -> ElementTree.Element:
    """The tree of an XML file; each element's attribute `line` says where it starts."""
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, attributes | {"line": str(parser.CurrentLineNumber)})

    def refuse(*_: object) -> NoReturn:  # no corpus needs a DTD, and its entities can swell a file without bound
        raise InputError(f"{path}, line {parser.CurrentLineNumber}: a DTD is not allowed here; remove the <!DOCTYPE>")

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        with opened(path) as file:
            parser.ParseFile(file)
    except (LookupError, ValueError) as error:  # expat asks Python, which lacks it or finds it not to be one byte each
        raise InputError(f"{path}: its XML is in an encoding that cannot be read; convert it to UTF-8") from error
    except expat.ExpatError as error:
        what = expat.errors.messages[error.code]
        raise InputError(f"{path}, line {error.lineno}: malformed XML ({what})") from error
    return builder.close()
