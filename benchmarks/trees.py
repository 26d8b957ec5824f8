"""The trees of the classifications: seconds to the first answer, memory, size on disk.

    python benchmarks/trees.py --out benchmarks/results/trees.json

Each in a fresh process, median of --rounds: the first question about a code (its tables are read), the path of every
billable code (a tree that is at hand), and the first search by words (its index is built). Memory is what the process
holds more after the first question, and after the search.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from common import ROOT, arguments, finish, in_a_process, parser_of, resident, tell

from concept_icd.ontology.code_shapes import SHAPES

FIRST = {"icd9cm": "428.0", "icd10": "E11.65"}


def main() -> None:
    args = arguments(parser_of(__doc__, seed=None, rounds=5))
    found = {}
    for name in SHAPES:
        runs = [in_a_process(measure, name) for _ in range(args.rounds)]
        found[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        files = [path for path in Path(ROOT / "ontology" / name).glob("*.tsv*") if path.is_file()]
        found[name]["mib_on_disk"] = round(sum(path.stat().st_size for path in files) / 2**20, 2)
        tell(name, found[name])
    finish(args, {"rounds": args.rounds, "trees": found})


def measure(name: str) -> dict[str, Any]:
    from concept_icd.ontology.tree import load_ontology

    before = resident()
    start = time.perf_counter()
    ontology = load_ontology(name)
    ontology.path(FIRST[name])
    first, held = time.perf_counter() - start, resident()
    codes = ontology.codes()
    start = time.perf_counter()
    for code in codes:
        ontology.path(code)
    paths = time.perf_counter() - start
    start = time.perf_counter()
    ontology.search("heart failure")
    return {
        "nodes": len(ontology),
        "billable_codes": len(codes),
        "first_answer_s": round(first, 3),
        "microseconds_a_path": round(1e6 * paths / len(codes), 1),
        "first_search_s": round(time.perf_counter() - start, 2),
        "mib_after_first": round((held - before) / 2**20, 1),
        "mib_after_search": round((resident() - before) / 2**20, 1),
    }


if __name__ == "__main__":
    main()
