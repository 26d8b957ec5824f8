"""The coder in the package: from the command to the answer, reports a second, memory.

    python benchmarks/shipped_coder.py --notes DATA/cmc2007 --out benchmarks/results/shipped_coder.json

Cold: `concept-icd code REPORT` as a process of its own, from its start to its end, some times over. In a batch: all
reports of the corpus through `ConceptCoder.code_batch`, loaded before, with and without evidence, each in a process of
its own, whose peak memory is what the system says of it. The same with `--scorer packed`, of the first reports alone.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, costed, costs_of, finish, in_a_process, parser_of

from concept_icd.resources import resource as packaged


def cold(times: int) -> dict[str, Any]:
    """Seconds from the command to its end."""
    report = packaged("examples") / "radiology" / "reflux_follow_up.txt"
    command = [sys.executable, "-m", "concept_icd.cli.main", "code", str(report)]
    seconds = [costs_of(command)["wall"] for _ in range(times)]
    return {"times": times, "median_seconds": float(np.median(seconds)), "seconds": [round(s, 2) for s in seconds]}


def batch(notes: Path, evidence: bool, limit: int | None, scorer: str | None = None) -> dict[str, Any]:
    """Reports a second, and the most memory that this process ever held."""
    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.corpora import read_corpus

    reports = [coded.note for coded in read_corpus(notes)][:limit]
    coder = ConceptCoder.from_pretrained("radiology")
    coder = coder if scorer is None else coder.with_scorer(scorer)
    coder.code(reports[0])
    cost, codes = costed(lambda: sum(len(result.accepted) for result in coder.code_batch(reports, evidence=evidence)))
    return {
        "reports": len(reports),
        "codes_accepted": codes,
        "reports_per_second": len(reports) / cost["wall"],
        "processor_ms_a_report": cost["processor"] * 1000 / len(reports),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = parser_of(__doc__, None, times=7, packed=300)
    parser.add_argument("--notes", type=Path, required=True, help="radiology reports")
    parser.add_argument("--limit", type=int, help="of the reports")
    args = arguments(parser)
    found = {
        "load_average_before": os.getloadavg(),
        "cold": cold(args.times),
        "batch": in_a_process(batch, args.notes, False, args.limit),
        "batch_with_evidence": in_a_process(batch, args.notes, True, args.limit),
        "packed": in_a_process(batch, args.notes, False, args.packed, "packed"),
        "packed_with_evidence": in_a_process(batch, args.notes, True, args.packed, "packed"),
    }
    finish(args, found, NOTES=args.notes)


if __name__ == "__main__":
    main()
