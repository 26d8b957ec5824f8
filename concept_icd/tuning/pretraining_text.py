"""Open text for pre-training: documents for the language-model loss, and topics with their names.

Everything is read from the folder of public corpora that the user names; what is absent is left out, so a smaller
model can be made from less. Codes of coded corpora are never read, nor are their dev and test parts.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.corpora import read_cmc2007
from concept_icd.corpora import synthetic_notes as synthetic
from concept_icd.errors import InputError
from concept_icd.ontology.wordings import words_of
from concept_icd.records import OneLine
from concept_icd.text.normalization import normalize

_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z0-9])")


@dataclass(frozen=True, repr=False)
class Topic(OneLine):
    """A condition with all its names, the preferred one first, and passages about it."""

    names: tuple[str, ...]
    passages: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class OpenText(OneLine):
    """What was read.

    Attributes:
        documents: running text, one string a document. notes: those of them that are clinical notes.
        topics: conditions with names and passages. counts: documents per source, for the model card.
    """

    documents: tuple[str, ...]
    notes: tuple[str, ...]
    topics: tuple[Topic, ...]
    counts: dict[str, int]


def read_open_text(data_dir: str | Path, synthetic_notes: int = 0, seed: int = 0) -> OpenText:
    """Reads every corpus that `data_dir` holds.

    Args:
        synthetic_notes: how many notes of the package's own generator to add.

    Raises:
        InputError: the folder holds none of the corpora, or one of them is damaged.
    """
    data = Path(data_dir)
    notes: dict[str, list[str]] = {
        "mts_dialog": [row["text"] for row in _rows(data / "open_medical_text" / "mts_dialog_notes.jsonl.gz")],
        "aci_bench": [row["text"] for row in _rows(data / "open_medical_text" / "aci_bench_notes.jsonl.gz")],
        "codiesp_train": [row["text_en"] for row in _rows(data / "codiesp" / "train.jsonl.gz")],
    }
    reports = data / "cmc2007" / "train.xml"
    if reports.is_file():
        notes["cmc2007_train"] = [coded.note.text for coded in read_cmc2007(reports)]
    if synthetic_notes:
        notes["synthetic"] = [coded.note.text for coded in synthetic(notes=synthetic_notes, seed=seed)]
    pages = list(_rows(data / "open_medical_text" / "medquad.jsonl.gz"))
    topics = tuple(_topics(pages))
    answers = [f"{answer['question']}\n{answer['answer']}" for page in pages for answer in page["qa"]]
    flat = tuple(read for texts in notes.values() for text in texts if (read := normalize(text).text))
    documents = (
        flat
        + tuple(normalize(text).text for text in answers)
        + tuple("; ".join(topic.names) for topic in topics if len(topic.names) > 1)
    )
    if not documents:
        raise InputError(f"{data} holds none of the corpora: open_medical_text, codiesp, cmc2007")
    counts = {name: len(texts) for name, texts in notes.items() if texts}
    return OpenText(documents, flat, topics, counts | {"medquad_answers": len(answers), "medquad_topics": len(topics)})


def withheld(text: str, share: float, seed: int = 0) -> bool:
    """Whether `text` falls into the held-out `share`; depends on nothing but the text and the seed."""
    return zlib.crc32(f"{seed}:{text}".encode()) / 2**32 < share


def sentences(text: str) -> list[str]:
    """The sentences of a text, by a plain rule: an end mark, white space, then a capital or a digit."""
    return [part.strip() for line in text.split("\n") for part in _SENTENCE_END.split(line) if part.strip()]


def _topics(pages: Sequence[dict[str, Any]]) -> Iterator[Topic]:
    """Passages are two sentences each; sentences that many pages share are the publisher's, not about the topic."""
    told = [[part for answer in page["qa"] for part in sentences(answer["answer"])] for page in pages]
    counts = Counter(part for parts in told for part in parts)
    for page, parts in zip(pages, told, strict=True):
        names = [name.strip() for name in [page["focus"], *(page["synonyms"] or [])] if name and words_of(name)]
        own = [part for part in parts if counts[part] <= 5 and 30 < len(part) < 400 and not part.endswith("?")]
        if names:
            passages = tuple(" ".join(own[start : start + 2]) for start in range(0, len(own), 2))
            yield Topic(tuple(dict.fromkeys(names)), passages)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error})") from error
