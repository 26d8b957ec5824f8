"""Runs tests/scoring/vllm and writes down what came of it; CI does not install vLLM.

    .venv-vllm/bin/python benchmarks/vllm_tests.py --out benchmarks/results/vllm_tests.json

Options that it does not know go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

from common import ROOT, finish, parser_of
from vllm_scoring import versions_with_vllm


def main() -> int:
    args, others = parser_of(__doc__, None).parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "tests/scoring/vllm", f"--junitxml={report}", *others]
        status = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode
        suite = next(xml.etree.ElementTree.parse(report).iter("testsuite"))
    tests = {
        f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}": next(
            (child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed"
        )
        for case in suite.iter("testcase")
    }
    result = {"versions": versions_with_vllm(), "tests": tests, "seconds": round(float(suite.get("time", 0)), 1)}
    result |= {outcome: sum(found == outcome for found in tests.values()) for outcome in ("passed", "failure", "error")}
    finish(args, result)
    return status


if __name__ == "__main__":
    sys.exit(main())
