"""A million predictions to a table: minutes and memory of `concept-icd code --corpus --out`, in each of its forms.

    python benchmarks/prediction_tables.py --notes DATA/cmc2007 --out benchmarks/results/prediction_tables.json

The reports of the corpus are coded again and again under new ids, each with its 45 codes, until the predictions are as
many as asked for. The whole command is measured for Parquet, as a process of its own from its start to its end; then,
from the predictions that it made, the writing alone of each form, its size, and how long `evaluate`'s reader takes.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import arguments, costed, costs_of, finish, in_a_process, parser_of, resident, rounded

CODES = 45


def write_corpus(notes: Path, count: int, path: Path) -> None:
    """Reports of the corpus in turn, so many, under ids of their own."""
    from concept_icd.corpora import read_corpus

    texts = itertools.cycle([coded.note.text for coded in read_corpus(notes)])
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(itertools.islice(texts, count)):
            file.write(json.dumps({"note_id": f"n{number}", "text": text}) + "\n")


def whole(corpus: Path, out: Path) -> dict[str, float]:
    """The command from its start to its end."""
    command = [sys.executable, "-m", "concept_icd.cli.main", "code", "--corpus", str(corpus), "--out", str(out), "-q"]
    cost = costs_of(command)
    return {"minutes": cost["wall"] / 60, "processor_minutes": cost["processor"] / 60, "peak_gib": cost["peak_gib"]}


def form(table: Path, out: Path) -> dict[str, float]:
    """Writing predictions that are read from a table row by row, as the command does it, and reading the file again."""
    from concept_icd.cli.partial_predictions import is_predictions
    from concept_icd.readers.long_tables import write_table
    from concept_icd.readers.predictions import read_predictions

    before = resident()
    cost, _ = costed(lambda: write_table(out, out.suffix[1:], results_of(table)))
    written = resident("VmHWM") - before
    read, found = costed(lambda: read_predictions(out))
    assert is_predictions(out)
    return {
        "write_seconds": cost["wall"],
        "write_peak_mib": written / 2**20,
        "read_seconds": read["wall"],
        "notes": len(found.note_ids),
        "size_mib": out.stat().st_size / 2**20,
    }


def results_of(table: Path) -> Any:
    """The notes of a Parquet file of predictions, one after the other, as JSON lines hold them."""
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(table).iter_batches(CODES * 100)
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, codes in itertools.groupby(rows, key=lambda row: row["note_id"]):
        listed = [{**row, "evidence": [], "against": []} for row in codes]
        yield {**listed[0], "codes": listed, "versions": {}}


def main() -> None:
    parser = parser_of(__doc__, None, predictions=1_000_000)
    parser.add_argument("--notes", type=Path, required=True, help="radiology reports")
    args = arguments(parser)
    notes = math.ceil(args.predictions / CODES)
    found: dict[str, Any] = {"load_average_before": os.getloadavg(), "notes": notes, "predictions": notes * CODES}
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder, "notes.jsonl"), Path(folder, "predictions.parquet")
        write_corpus(args.notes, notes, corpus)
        found["code_to_parquet"] = rounded(whole(corpus, out), 2)
        for name in ("csv", "parquet"):
            found[name] = rounded(in_a_process(form, out, Path(folder, f"again.{name}")), 2)
    finish(args, found, NOTES=args.notes)


if __name__ == "__main__":
    main()
