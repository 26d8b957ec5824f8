"""What warm-up reads: open text with its topics, and what the classification calls its codes.

Everything is read from the folder of public corpora that the user names; what is absent is left out, so a smaller
model can be made from less. Codes of coded corpora are never read, nor are their dev and test parts.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.corpora import read_cmc2007
from concept_icd.corpora import synthetic_notes as synthetic
from concept_icd.errors import InputError
from concept_icd.ontology.tree import Ontology
from concept_icd.ontology.wordings import collect_wordings, find_phrases, group_of, phrase_codes, plain
from concept_icd.records import OneLine
from concept_icd.text.normalization import normalize
from concept_icd.text.sentences import sentence_spans
from concept_icd.text.words import stems

#: Shares of wordings and codes that are kept for the held-out questions.
WITHHELD_PHRASES, WITHHELD_CODES = 0.05, 0.01


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


def read_open_text(data_dir: str | Path | None, synthetic_notes: int = 0, seed: int = 0) -> OpenText:
    """Reads every corpus that `data_dir` holds.

    Args:
        data_dir: None: nothing but the synthetic notes.
        synthetic_notes: how many notes of the package's own generator to add.

    Raises:
        InputError: the folder holds none of the corpora, or one of them is damaged.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise InputError(f"there is no folder {data_dir} with public corpora")
    data = Path(data_dir or os.devnull)
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
    """The sentences of a text."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _topics(pages: Sequence[dict[str, Any]]) -> Iterator[Topic]:
    """Passages are two sentences each; sentences that many pages share are the publisher's, not about the topic."""
    told = [[part for answer in page["qa"] for part in sentences(answer["answer"])] for page in pages]
    counts = Counter(part for parts in told for part in parts)
    for page, parts in zip(pages, told, strict=True):
        names = [name.strip() for name in [page["focus"], *(page["synonyms"] or [])] if name and stems(name)]
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


@dataclass(frozen=True)
class CodeTerms:
    """What is asked and said about every code.

    Attributes:
        texts: code -> the words of its question. paths: code -> ancestors and the code, widest first.
        wordings: code -> what notes call it, the plain title first. withheld: the wordings kept for evaluation.
        withheld_codes: codes that no training note mentions. by_category: kind -> category -> codes with wordings.
        common: codes whose wordings occur in open notes, with the weight of each. named: stems of wordings -> codes.
    """

    texts: Mapping[str, str]
    paths: Mapping[str, tuple[str, ...]]
    wordings: Mapping[str, tuple[str, ...]]
    withheld: Mapping[str, tuple[str, ...]]
    withheld_codes: tuple[str, ...]
    by_category: Mapping[str, Mapping[str, tuple[str, ...]]]
    common: tuple[tuple[str, ...], tuple[float, ...]]
    named: Mapping[tuple[str, ...], str]

    def draw(self, rng: random.Random, procedures: float = 0.12, common: float = 0.5) -> str:
        """A code: from the common ones, or of a random category, so that large categories do not crowd out others."""
        if self.common[0] and rng.random() < common:
            return rng.choices(self.common[0], self.common[1])[0]
        tree = self.by_category["procedure" if rng.random() < procedures else "diagnosis"]
        return rng.choice(tree[rng.choice(tuple(tree))])

    def words(self, code: str, rng: random.Random, title: float = 0.3) -> str:
        """How a note mentions the code: by its title, or (mostly) in other words."""
        known = self.wordings[code]
        return known[0] if len(known) == 1 or rng.random() < title else rng.choice(known[1:])


def collect_terms(
    ontology: Ontology,
    texts: Mapping[str, str],
    inclusions: Mapping[str, Iterable[str]],
    index: Sequence[tuple[str, str]],
    topics: Sequence[Topic],
    notes: Sequence[str],
    seed: int,
) -> CodeTerms:
    """Joins the titles, the phrases of the classification and the synonyms of topics that share a name with a code.

    Args:
        texts: the words of each code's question. inclusions: code -> its inclusion terms.
        index: (phrase, code) of the alphabetic index, main terms first.
        notes: open notes; codes whose wordings occur there are drawn more often, by the root of their number of notes.
    """
    paths = {code: tuple(ontology.path(code)) for code in texts}
    called = collect_wordings(ontology, texts, inclusions, index)
    borrowed = _synonyms(phrase_codes({code: plain([text])[:1] for code, text in texts.items()}, index), topics)
    wordings = {code: tuple(dict.fromkeys(called[code] + borrowed.get(code, ()))) for code in texts}
    mentioned = [code for code in texts if ontology.level(code) not in ("chapter", "section") and wordings[code]]
    apart = tuple(code for code in mentioned if not ontology.children(code) and withheld(code, WITHHELD_CODES, seed))
    kept: dict[str, tuple[str, ...]] = {}
    held: dict[str, tuple[str, ...]] = {code: wordings[code] for code in apart}
    for code in mentioned:
        if code in held:
            continue
        out = tuple(phrase for phrase in wordings[code][1:] if withheld(phrase.lower(), WITHHELD_PHRASES, seed))
        kept[code] = tuple(phrase for phrase in wordings[code] if phrase not in out)
        if out:
            held[code] = out
    trees: dict[str, dict[str, list[str]]] = {"diagnosis": defaultdict(list), "procedure": defaultdict(list)}
    for code in kept:
        trees[ontology.kind(code)][group_of(code, ontology)].append(code)
    by_category = {kind: {group: tuple(codes) for group, codes in tree.items()} for kind, tree in trees.items()}
    named = phrase_codes(kept, [pair for pair in index if pair[0] in kept.get(pair[1], ())])
    counts = Counter(code for note in notes for code in {code for *_, code in find_phrases(note, named)})
    common = tuple(sorted(counts))
    weights = tuple(math.sqrt(counts[code]) for code in common)
    return CodeTerms(texts, paths, kept, held, apart, by_category, (common, weights), named)


def _synonyms(named: Mapping[tuple[str, ...], str], topics: Sequence[Topic]) -> dict[str, tuple[str, ...]]:
    """A topic whose names lead to exactly one code lends it its other names."""
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for topic in topics:
        hits = {code for name in topic.names if (code := named.get(tuple(stems(name))))}
        if len(hits) == 1:
            found[hits.pop()] += plain(topic.names)
    return found


def text_streams(text: OpenText, terms: CodeTerms) -> list[list[str]]:
    """Three streams of running text: clinical notes, medical pages, and the classification itself."""
    notes = set(text.notes)
    return [list(text.notes), [page for page in text.documents if page not in notes], list(_classification(terms))]


def _classification(terms: CodeTerms) -> Iterator[str]:
    for code, wordings in terms.wordings.items():
        above = " > ".join(terms.texts[ancestor] for ancestor in terms.paths[code] if ancestor in terms.texts)
        yield f"{above}: {'; '.join(wordings)}"
