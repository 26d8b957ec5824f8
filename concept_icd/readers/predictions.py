"""Anybody's predictions and gold codes, read from the files that coders and their papers' repositories write.

JSON lines (any other ending)
    predictions: ours, or `{"note_id", "probabilities": {code: p}}`; gold: `{"note_id", "codes": [...]}`
.csv, .psv, .tsv without a header
    `id|code|code|...`, decisions without probabilities (CAML's preds_test.psv); the same as gold
.csv, .psv, .tsv with a header
    a row a code: `note_id`, `code`, `probability` and what else `concept-icd code --out FILE.csv` writes
    a matrix: a note's id, then a column a code; decisions, or gold, where every cell is 0 or 1
    or a column LABELS of `a;b`: gold (CAML's test_50.csv)
.json
    `{id: {code: p}}` (CAML's pred_100_scores_test.json)
    gold: a list of records with LABELS (mimic3-50_test.json of MSMN and KEPT)
Feather, Parquet
    a row a code, as in .csv
    a matrix (predictions_test.feather of Edin et al.), with a column `target` as gold
a prepared corpus
    gold: a split of it

All may be gzipped. Feather, Parquet and gzip are known by their first bytes, the others by their ending. A matrix goes
to NumPy without a Python object a cell. Codes are text everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from concept_icd.errors import InputError
from concept_icd.files import printable
from concept_icd.ontology.code_checks import never_had
from concept_icd.ontology.tree import DEFAULT
from concept_icd.progress import say
from concept_icd.readers import arrow_files, delimited, json
from concept_icd.readers.corpus import read_corpus_gold
from concept_icd.readers.files import Source
from concept_icd.readers.forms import Gold, Predictions
from concept_icd.readers.label_sets import LabelReader, told_codes

__all__ = ["Gold", "Predictions", "read_gold", "read_predictions"]


def read_predictions(path: str | Path, labels: Iterable[str] = (), classification: str = DEFAULT) -> Predictions:
    """The predictions of a file.

    Codes that cannot be billed, or that no edition had, are said on stderr: a model may have them on purpose.

    Args:
        labels: a label set; what is spelled as one of them is that label, all else must be a code of the
            classification.

    Raises:
        InputError: unreadable, malformed, a note or a code twice, no code, no probability.
    """
    reader = LabelReader(labels, classification)
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; predictions are one file")
    source = Source.of(path)
    found = _reader_of(source).read_predictions(source, reader)
    for sentence in told_codes(Counter(found.codes), reader.labels, "codes that the predictions name", reader.ontology):
        say(f"{printable(path)}: {sentence}")
    return found


def read_gold(
    path: str | Path,
    labels: Iterable[str] = (),
    split: str | None = None,
    default_split: str = "test",
    classification: str | None = None,
) -> Gold:
    """The gold codes of a file or of a prepared corpus; errors as in `read_predictions`.

    Args:
        split: of a prepared corpus: "train", "dev", "test" or "all"; None takes `default_split`, or all notes where the
            corpus has no such split.
        classification: of the codes of a file, by default ICD-9-CM; a prepared corpus says it itself.
    """
    if Path(path).is_dir():
        gold = read_corpus_gold(path, split, default_split)
        if classification not in (None, gold.classification):
            raise InputError(f"{path} is coded in {gold.classification}, not in {classification}")
        return gold
    reader = LabelReader(labels, classification or DEFAULT)
    if split is not None:
        raise InputError(f"{path} is a file: only a prepared corpus has splits")
    source = Source.of(path)
    found = _reader_of(source).read_gold(source, reader)
    counts = Counter(code for codes in found.codes.values() for code in codes)
    if sentence := never_had(counts, reader.ontology, "gold assignments", reader.labels):
        raise InputError(
            f"{path}: {sentence}; is it another classification, or did they go through a number? Labels that a "
            "benchmark has on purpose are taken as they are where --codes names them"
        )
    return replace(found, classification=reader.ontology.name)


def _reader_of(source: Source) -> ModuleType:
    if source.form in ("feather", "parquet"):
        return arrow_files
    return delimited if source.form == "text table" else json
