"""Peak memory and minutes of `concept-icd prepare mimic3` on tables of MIMIC-III's full size, invented.

    python benchmarks/prepare_mimic3.py [--mimic-dir DIR] --out benchmarks/results/prepare_mimic3.json

Without --mimic-dir the tables are generated first (minutes, and 5 GB of disk). Each task runs in a process of its own,
whose peak resident memory the system counts: it is that of the whole command, Python and DuckDB together. A second run
finds everything complete, and only reads the files to see that they are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import arguments, record

from concept_icd.artifacts import write_json
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.corpora.mimic3.tables import find_tables

TASKS = ("mimic3-50", "mimic3-full")


def measure(command: list[str]) -> tuple[float, int]:
    """Minutes and peak resident bytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return (time.perf_counter() - start) / 60, usage.ru_maxrss * 1024


def prepare(tables: Path, task: str, folder: Path, memory: str) -> dict[str, Any]:
    """What one task costs, and what it wrote."""
    out = folder / task
    options = {"mimic-dir": tables, "splits-dir": tables / "splits", "task": task, "out": out, "memory": memory}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "concept_icd.cli.main", "prepare", "mimic3", *words]
    minutes, peak = measure(command)
    again, _ = measure(command)
    manifest = json.loads((out / "manifest.json").read_text())
    found = {check["name"]: check["found"] for check in manifest["checks"]}
    return {
        "minutes": round(minutes, 2),
        "minutes_of_a_second_run": round(again, 2),
        "peak_gib": round(peak / 2**30, 2),
        "note_rows": found["notes of all categories"],
        "stays": manifest["counts"]["notes"],
        "labels": len(manifest["label_set"]),
        "written_bytes": (out / "notes.parquet").stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mimic-dir", type=Path, help="tables that `concept-icd synth mimic3` wrote")
    parser.add_argument("--stays", type=int, default=58_976, help="of generated tables (default: MIMIC-III's)")
    parser.add_argument("--note-rows", type=int, default=2_083_180, help="of generated tables (default: MIMIC-III's)")
    parser.add_argument("--memory", default="3GB", help="as of the command (default: 3GB)")
    parser.add_argument("--seed", type=int, default=0)
    args = arguments(parser)
    with tempfile.TemporaryDirectory(prefix="prepare-mimic3-") as name:
        folder, tables = Path(name), args.mimic_dir
        if tables is None:
            tables = folder / "tables"
            write_synthetic_mimic3(tables, args.stays, args.seed, note_rows=args.note_rows)
        result = record("prepare_mimic3.py", args.seed) | {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "noteevents_bytes": find_tables(tables)["NOTEEVENTS"].path.stat().st_size,
            "memory_option": args.memory,
            "tasks": {task: prepare(tables, task, folder, args.memory) for task in TASKS},
        }
    if args.mimic_dir is not None:
        result["command"] = result["command"].replace(str(args.mimic_dir), "DIR")
    result["minutes"] = round(sum(task["minutes"] for task in result["tasks"].values()), 1)
    write_json(args.out, result)
    print(json.dumps(result["tasks"], indent=2))


if __name__ == "__main__":
    main()
