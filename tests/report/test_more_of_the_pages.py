"""Contents and anchors of the pages, the notes by error, the forest plot."""

from __future__ import annotations

import re

import numpy as np
import pytest

from concept_icd.report.error_notes import error_notes
from concept_icd.report.forest import Forest, forest
from concept_icd.report.page import render_results
from concept_icd.report.results import EvaluationInputs, evaluate

CODES = ("401.9", "428.0", "486")
GOLD = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]], dtype=bool)
SAID = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0]], dtype=bool)


def page(**extra) -> str:
    given = EvaluationInputs(GOLD, SAID * 0.9 + 0.05, CODES, ["n0", "n1", "n2"], extra=extra)
    return render_results(evaluate(given, draws=10).to_dict())


def test_every_heading_is_in_the_contents_and_has_its_anchor():
    text = page()
    anchors = re.findall(r'<h2 id="([^"]+)">', text)
    assert len(anchors) == text.count("<h2") == len(set(anchors)) >= 4
    assert re.findall(r'<a href="#([^"]+)">', text) == anchors
    assert "all-figures" in anchors
    assert text.index("<nav") < text.index("<h2")


def test_notes_by_error_have_ids_codes_and_places_and_are_there_only_when_asked_for():
    rows = error_notes(["n0", "n1", "n2"], CODES, GOLD, SAID, {"n1": {"401.9": [(3, 9)]}}, 5)
    assert rows == [
        {
            "note_id": "n1",
            "missed": [{"code": "428.0", "passages": []}],
            "in_vain": [{"code": "401.9", "passages": [[3, 9]]}],
            "errors": 2,
        },
        {
            "note_id": "n2",
            "missed": [{"code": "428.0", "passages": []}, {"code": "486", "passages": []}],
            "in_vain": [],
            "errors": 2,
        },
    ]
    assert error_notes(["n0", "n1", "n2"], CODES, GOLD, SAID, {}, 1)[0]["note_id"] == "n1"
    assert error_notes(["n0"], CODES, GOLD[:1], SAID[:1], {}, 5) == []
    shown = page(error_notes=rows)
    assert "Notes by error" in shown
    assert "<code>n1</code>" in shown
    assert "3–9" in shown
    assert "<code>n0</code>" not in shown
    assert "<code>n1</code>" not in page()


def compared(**differences) -> dict:
    return {"systems": [{"name": "a"}, {"name": "<b>"}], "differences": {"<b>": differences}}


def test_the_forest_has_a_row_a_share_and_right_is_better():
    band = {"difference": 0.1, "low": 0.05, "high": 0.15}
    found = forest(
        compared(micro_f1=band, brier=band, rank_errors_at_50=band, map={"difference": 0.2}),
        ["micro_f1", "brier", "rank_errors_at_50", "map"],
    )
    assert isinstance(found, Forest)
    assert found.rows == [("micro_f1", "<b>", 0.1, 0.05, 0.15), ("less brier", "<b>", -0.1, -0.15, -0.05)]
    svg = found.render()
    assert svg.count("<circle") == 2
    assert "&lt;b&gt;" in svg
    assert "<b>" not in svg
    places = [float(x) for x in re.findall(r'cx="([0-9.]+)"', svg)]
    zero = float(re.search(r'class="axis" x1="([0-9.]+)"', svg)[1])
    assert places[1] < zero < places[0]
    assert zero - places[1] == pytest.approx(places[0] - zero, abs=0.3)
    assert forest(compared(map={"difference": 0.2}), ["map"]) == "No difference has an interval."
