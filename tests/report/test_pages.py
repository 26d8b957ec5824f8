"""Every page of the package: text stays text, whatever stands in it; nothing runs, and nothing is fetched."""

import re

import numpy as np
import pytest

from concept_icd import metrics
from concept_icd.report import EvaluationInputs, evaluate
from concept_icd.report.comparison import GoldLabels, System, compare_systems
from concept_icd.report.page import render_comparison, render_results, style
from tests.report.html_page import Page

EVIL = """<script>alert("x")</script><img src='//x' onerror="x">'s"""
CODES = ("038.9", f"{EVIL} code", "99.04")
NOTES = tuple(f"{EVIL} note {n}" for n in range(12))
KINDS = ("diagnosis", "diagnosis", "procedure")


@pytest.fixture(scope="module")
def matrices():
    random = np.random.default_rng(0)
    gold = random.random((12, 3)) < 0.5
    return gold, np.clip(0.6 * random.random((12, 3)) + 0.4 * gold, 0, 1)


def checked(text, *expected):
    """The page, if it holds these texts as text and no element or attribute that came out of one."""
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith(("on", "src"))]
    assert all(attributes.get("href", "#").startswith("#") for _, attributes in page.tags)
    assert not re.search(r"url\(|@import|<script", text)
    assert "@media (prefers-color-scheme: dark)" in text
    words = "".join(page.words)
    for one in expected:
        assert one in words, one
    return words


def test_results_are_escaped(matrices):
    gold, probabilities = matrices
    extra = {
        "levels": metrics.level_metrics(probabilities, gold, [f"{EVIL} level", "code", "code"]),
        "systems": {f"{EVIL} system": metrics.decision_metrics(gold, gold)},
        "published": {"task": f"{EVIL} task", "rows": [], "left_out": [], "refusal": f"{EVIL} refusal"},
        "code_checks": [f"{EVIL} check"],
        "folds": f"{EVIL} more",
    }
    words = {"label_set": f"{EVIL} labels", "threshold_source": f"{EVIL} source", "command": f"{EVIL} command"}
    given = EvaluationInputs(
        *(gold, probabilities, CODES, NOTES),
        places=np.where(gold, np.arange(3) + 1, 0),
        kinds=KINDS,
        titles={"038.9": f"{EVIL} title"},
        inputs={f"{EVIL} file": f"{EVIL} hash"},
        extra=extra,
        **words,
    )
    results = evaluate(given, draws=5)
    told = checked(
        render_results(results.to_dict(), f"{EVIL} page"),
        *(f"{EVIL} {name}" for name in ("page", "code", "title", "level", "system", "task", "refusal", "check")),
        *(f"{EVIL} {name}" for name in ("labels", "source", "command", "file", "hash")),
    )
    assert "note 3" not in told


def test_a_comparison_is_escaped(matrices):
    gold, probabilities = matrices
    accepted = probabilities >= 0.5
    systems = [
        System(f"{EVIL} {name}", values, accepted, None, f"{EVIL} rule", (f"{EVIL} stamp",))
        for name, values in (("first", probabilities), ("second", 1 - probabilities))
    ]
    places = np.where(gold, np.arange(3) + 1, 0)
    measured = GoldLabels(NOTES, CODES, gold, None, places, None, KINDS, f"{EVIL} labels")
    found = compare_systems(systems, measured, draws=5, inputs={"gold": f"{EVIL} hash"}, command=f"{EVIL} command")
    told = checked(
        render_comparison(found.to_dict(), f"{EVIL} page"),
        *(f"{EVIL} {name}" for name in ("page", "first", "second", "rule", "stamp", "labels", "hash", "command")),
        f"Each system less {EVIL} first",
    )
    assert "note 3" not in told


def test_the_documentation_of_the_api_is_escaped():
    pytest.importorskip("fastapi")
    from concept_icd.desk.app import docs_page

    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/In"}}}}
    route = {
        "description": f"{EVIL} first\n{EVIL} second",
        "parameters": [{"name": f"{EVIL} name", "in": "query", "required": True}],
        "requestBody": body,
        "responses": {"200": {"description": f"{EVIL} answer"}},
    }
    openapi = {
        "info": {"title": f"{EVIL} page", "description": f"{EVIL} words"},
        "paths": {f"/{EVIL} path": {"post": route}},
        "components": {"schemas": {"In": {"examples": [{"text": "<script>example</script>"}]}}},
    }
    text = docs_page(openapi).replace(' href="openapi.json"', "", 1)  # the one link, to the service itself
    names = ("page", "words", "path", "name", "first", "second", "answer")
    checked(text, *(f"{EVIL} {name}" for name in names), '{\n  "text": "<script>example</script>"\n}')
    assert f"<style>{style()}</style>" in text  # what the service's policy names by its hash
