"""The table of the command: whole on a wide terminal, stacked on a narrow one, tab-separated elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from concept_icd.report.definitions import DEFINITIONS, direction, headline
from concept_icd.report.table import print_table

NAME = "a system with a name that is rather long [its bound]"
ROWS = [[NAME, "0.123", "0.100 - 0.150"], ["other", "1,234,567", ""]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(file: io.StringIO, rows=ROWS) -> str:
    print_table("a title", ["system", "micro_f1", "95 %"], rows, caption="a caption", file=file)
    return re.sub("\x1b\\[[0-9;]*m", "", file.getvalue())  # without colours


def test_elsewhere_than_on_a_terminal_it_is_tab_separated():
    lines = printed(io.StringIO()).split("\n")
    assert lines[:2] == ["# a title", "system\tmicro_f1\t95 %"]
    assert [line.split("\t") for line in lines[2:4]] == ROWS
    assert lines[4:] == ["# a caption", "", ""]
    assert printed(io.StringIO(), [["a\tb\nc", "1", ""]]).split("\n")[2] == "a b c\t1\t"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_width_cuts_a_name_or_a_number(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    told = printed(Terminal())
    whole = told if width >= 60 else "".join(told.split())
    for cell in [cell for row in ROWS for cell in row] + ["a title", "a caption", "micro_f1"]:
        assert (cell if width >= 60 else "".join(cell.split())) in whole
    assert ("┏" in told) == (width >= 90)


def test_stacked_rows_name_their_cells(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert printed(Terminal()).splitlines() == [
        *("a title", NAME, "  micro_f1  0.123", "  95 %      0.100 - 0.150"),
        *("other", "  micro_f1  1,234,567", "a caption"),
    ]


def test_every_figure_has_its_direction():
    less = {name for metrics in DEFINITIONS.values() for name in metrics if direction(name) == "↓"}
    assert {"brier", "ece", "mce_positive", "rank_errors_at_50", "reading_errors_at_90", "coverage"} <= less
    assert not less & {"micro_f1", "ndcg", "kendall_tau_diagnoses", "primary_mrr", "reading_recall_at_90"}
    assert direction("primary_notes") == direction("precision_ceiling_at_5") == ""


def test_six_figures_come_first():
    figures = dict.fromkeys([name for metrics in DEFINITIONS.values() for name in metrics], 0.5)
    assert headline(figures) == [
        *("micro_f1", "macro_f1", "micro_auc", "precision_at_5", "rank_errors_at_100", "ece_positive"),
    ]
    assert headline({"exact_match": 1, "micro_f1": 1}) == ["micro_f1", "exact_match"]
