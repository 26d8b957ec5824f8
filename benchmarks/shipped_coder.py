"""The coder in the package: from the command to the answer, reports a second, memory.

    python benchmarks/shipped_coder.py --notes DATA/cmc2007 --out benchmarks/results/shipped_coder.json

Cold: `concept-icd code REPORT` as a process of its own, from its start to its end, some times over. In a batch: all
reports of the corpus through `ConceptCoder.code_batch`, loaded before, with and without evidence, each in a process of
its own, whose peak memory is what the system says of it. The same with `--scorer packed`, of the first reports alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, record

from concept_icd.artifacts import write_json
from concept_icd.resources import resource as packaged


def cold(times: int) -> dict[str, Any]:
    """Seconds from the command to its end."""
    report = packaged("examples") / "radiology" / "reflux_follow_up.txt"
    command = [sys.executable, "-m", "concept_icd.cli.main", "code", str(report)]
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return {"times": times, "median_seconds": float(np.median(seconds)), "seconds": [round(s, 2) for s in seconds]}


def batch(notes: Path, evidence: bool, limit: int | None, scorer: str | None = None) -> dict[str, Any]:
    """Runs `measure` in a process of its own."""
    own = [sys.executable, __file__, "--notes", str(notes), "--measure", "evidence" if evidence else "codes"]
    own += [] if limit is None else ["--limit", str(limit)]
    own += [] if scorer is None else ["--scorer", scorer]
    done = subprocess.run(own, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(notes: Path, evidence: bool, limit: int | None, scorer: str | None) -> dict[str, Any]:
    """Reports a second, and the most memory that this process ever held."""
    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.corpora import read_corpus

    reports = [coded.note for coded in read_corpus(notes)][:limit]
    coder = ConceptCoder.from_pretrained("radiology")
    coder = coder if scorer is None else coder.with_scorer(scorer)
    coder.code(reports[0])
    start, begin = time.perf_counter(), time.process_time()
    codes = sum(len(result.accepted) for result in coder.code_batch(reports, evidence=evidence))
    seconds, processor = time.perf_counter() - start, time.process_time() - begin
    return {
        "reports": len(reports),
        "codes_accepted": codes,
        "reports_per_second": len(reports) / seconds,
        "processor_ms_a_report": processor * 1000 / len(reports),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=Path, required=True, help="radiology reports")
    parser.add_argument("--times", type=int, default=7, help="cold starts")
    parser.add_argument("--limit", type=int, help="of the reports")
    parser.add_argument("--packed", type=int, default=300, help="reports for the packed scorer (default: %(default)s)")
    parser.add_argument("--measure", choices=("codes", "evidence"), help="one batch, in this process")
    parser.add_argument("--scorer", help="of that batch")
    parser.add_argument("--out", type=Path)
    args = arguments(parser)
    if args.measure:
        print(json.dumps(measure(args.notes, args.measure == "evidence", args.limit, args.scorer)))
        return
    folders = {"DATA/cmc2007": args.notes} | ({"benchmarks/results/shipped_coder.json": args.out} if args.out else {})
    found = record("shipped_coder.py", 0, folders) | {
        "load_average_before": os.getloadavg(),
        "cold": cold(args.times),
        "batch": batch(args.notes, False, args.limit),
        "batch_with_evidence": batch(args.notes, True, args.limit),
        "packed": batch(args.notes, False, args.packed, "packed"),
        "packed_with_evidence": batch(args.notes, True, args.packed, "packed"),
    }
    print(json.dumps(found, indent=1))
    if args.out:
        write_json(args.out, found)


if __name__ == "__main__":
    main()
