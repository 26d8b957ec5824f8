"""The benchmark of evidence runs on the folder of a fold, and its random spans are of the length asked for."""

import random
import re
from dataclasses import replace

import pytest

from concept_icd.corpora.store import save_corpus
from tests.benchmarks.test_benchmarks import run
from tests.conftest import ROOT


@pytest.fixture
def evidence(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import evidence

    return evidence


def test_versions_of_a_text(evidence):
    text = "HISTORY: Cough.\nNo fever, no chills."
    spans = [(9, 15), (26, 36)]
    assert evidence.alone(text, spans) == "Cough. no chills."
    assert evidence.without(text, spans) == "HISTORY: \nNo fever, "
    assert evidence.whole_sentences(text, spans[1:]) == [(16, 36)]


def test_random_spans_are_words_in_a_row_of_that_length(evidence):
    text = "one two three four five six seven eight nine ten"
    rng = random.Random(0)
    drawn = {evidence.random_span(text, 13, rng)[0] for _ in range(200)}
    assert {start for start, _ in drawn} == {
        m.start() for m in re.finditer(r"\S+", text) if len(text) - m.start() >= 13
    }
    assert all(abs(end - start - 13) <= 3 for start, end in drawn)
    assert all(text[:start][-1:] in ("", " ") and text[end:][:1] in ("", " ") for start, end in drawn)


@pytest.mark.slow
def test_it_measures_held_out_reports(fitted, tmp_path):
    fold = tmp_path / "runs" / "seed-0-fold-0"
    fitted.coder.save_pretrained(fold / "coder")
    texts = [". ".join(coded.note.text.title().split(" ", 3)) for coded in fitted.test]
    held_out = [replace(c, note=replace(c.note, text=text)) for c, text in zip(fitted.test, texts, strict=True)]
    save_corpus(fold / "corpus", [*fitted.train, *held_out])
    options = ("--coder", "coder", "--limit", 5, "--spans", 1)
    result = run("evidence.py", "--work", fold.parent, *options, out=tmp_path / "evidence.json")
    assert result["command"].startswith("python benchmarks/evidence.py --work RUNS --coder coder --limit 5")
    assert result["reports"] <= 5
    for way in ("clauses", "sentences"):
        found = result["evidence"][way]
        assert found["comprehensiveness"]["mean"] >= 0
        assert 0 < found["share_of_the_report"]["mean"] <= 1
        assert found["comprehensiveness"]["low"] <= found["comprehensiveness"]["mean"]
