"""Peak memory and minutes of `concept-icd prepare mimic3` on tables of MIMIC-III's full size, invented.

    python benchmarks/prepare_mimic3.py [--mimic-dir DIR] --out benchmarks/results/prepare_mimic3.json

Without --mimic-dir the tables are generated first (minutes, and 5 GB of disk). Each task runs in a process of its own,
whose peak resident memory the system counts: it is that of the whole command, Python and DuckDB together. A second run
finds everything complete, and only reads the files to see that they are the same.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import arguments, costs_of, finish, parser_of

from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.corpora.mimic3.tables import find_tables

MEMORY = "3GB"
TASKS = ("mimic3-50", "mimic3-full")


def prepare(tables: Path, task: str, folder: Path) -> dict[str, Any]:
    """What one task costs, and what it wrote."""
    out = folder / task
    options = {"mimic-dir": tables, "splits-dir": tables / "splits", "task": task, "out": out, "memory": MEMORY}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "concept_icd.cli.main", "prepare", "mimic3", *words]
    first, again = costs_of(command), costs_of(command)
    manifest = json.loads((out / "manifest.json").read_text())
    found = {check["name"]: check["found"] for check in manifest["checks"]}
    return {
        "minutes": round(first["wall"] / 60, 2),
        "minutes_of_a_second_run": round(again["wall"] / 60, 2),
        "peak_gib": first["peak_gib"],
        "note_rows": found["notes of all categories"],
        "stays": manifest["counts"]["notes"],
        "labels": len(manifest["label_set"]),
        "written_bytes": (out / "notes.parquet").stat().st_size,
    }


def main() -> None:
    parser = parser_of(__doc__, stays=58_976, note_rows=2_083_180)
    parser.add_argument("--mimic-dir", type=Path, help="tables that `concept-icd synth mimic3` wrote")
    args = arguments(parser)
    with tempfile.TemporaryDirectory(prefix="prepare-mimic3-") as name:
        folder, tables = Path(name), args.mimic_dir
        if tables is None:
            tables = folder / "tables"
            write_synthetic_mimic3(tables, args.stays, args.seed, note_rows=args.note_rows)
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "noteevents_bytes": find_tables(tables)["NOTEEVENTS"].path.stat().st_size,
            "memory_option": MEMORY,
            "tasks": {task: prepare(tables, task, folder) for task in TASKS},
        }
    result["minutes"] = round(sum(task["minutes"] for task in result["tasks"].values()), 1)
    finish(args, result, DIR=args.mimic_dir)


if __name__ == "__main__":
    main()
