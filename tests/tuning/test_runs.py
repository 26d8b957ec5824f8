"""Several processes begin one folder; files of theirs decide nothing before all have looked."""

from __future__ import annotations

import pytest

from tests.tuning.runs import process

pytestmark = pytest.mark.slow

#: The second process comes a second later than the first, which writes at once.
WORK = """
import sys, time
from pathlib import Path
from accelerate import PartialState
from concept_icd.tuning.runs import begun_together

state, out = PartialState(cpu=True), Path(sys.argv[1])
time.sleep(state.process_index)
with begun_together(out, lambda: True, ("mark",)):
    if state.is_main_process:
        out.mkdir()
        (out / "a file that is no mark yet").touch()
"""


def test_a_process_that_comes_later_does_not_judge_a_folder_half_begun(tmp_path):
    script = tmp_path / "work.py"
    script.write_text(WORK)
    launch = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script))
    with process([str(tmp_path / "out")], *launch) as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
