"""From notes coded in ICD-10 to a report, each stage as a user runs it; and what is said of another classification."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from concept_icd.cli.main import main
from concept_icd.corpora import load_corpus
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology

SAYS = {
    "E11.65": "type 2 diabetes with hyperglycemia",
    "I50.21": "acute systolic heart failure",
    "0DTJ4ZZ": "laparoscopic appendectomy",
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes that say their codes, with the passages; a code now and then only denied."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("icd10") / "notes.jsonl"
    lines = []
    for number in range(90):
        codes = [code for code in SAYS if rng.random() < 0.5] or ["I50.21"]
        parts = [f"{'Has' if code in codes else 'Denies'} {SAYS[code]}." for code in SAYS]
        text = f"Note {number}. " + " ".join(parts)
        places = [text.index(SAYS[code]) for code in codes]
        marked = [
            {"code": code, "spans": [[place, place + len(SAYS[code])]]}
            for code, place in zip(codes, places, strict=True)
        ]
        split = "test" if number % 3 == 0 else "train"
        lines.append({"note_id": f"n{number}", "text": text, "codes": codes, "split": split, "evidence": marked})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def command(*words: object) -> int:
    return main([str(word) for word in words])


def test_from_notes_to_a_report_without_a_language_model(notes, tmp_path, capsys):
    corpus, coder, said = tmp_path / "corpus", tmp_path / "coder", tmp_path / "said.jsonl"
    assert command("prepare", "jsonl", notes, "--classification", "icd10", "--out", corpus) == 0
    loaded = load_corpus(corpus)
    assert loaded.classification == "icd10"
    assert {code for note in loaded.notes for code in note.procedures} == {"0DTJ4ZZ"}
    assert all(len(note.evidence) == len(note.codes) for note in loaded.notes)
    assert command("fit", "--corpus", corpus, "--experts", "spans", "--out", coder) == 0
    assert command("code", "--corpus", corpus, "--coder", coder, "--out", said) == 0
    first = json.loads(said.read_text().splitlines()[0])
    assert {row["code"] for row in first["codes"]} == set(SAYS)
    assert {row["system"] for row in first["codes"]} == {
        load_ontology("icd10").system(kind) for kind in ("diagnosis", "procedure")
    }
    capsys.readouterr()
    report = tmp_path / "report"
    assert command("evaluate", "--predictions", said, "--gold", corpus, "--out", report, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    assert results["figures"]["micro_f1"] > 0.95
    titles = {row["code"]: row["title"] for row in results["codes"]}
    assert titles["E11.65"] == "Type 2 diabetes mellitus with hyperglycemia"


def test_a_code_of_the_other_classification_is_told(notes, tmp_path, capsys):
    assert command("prepare", "jsonl", notes, "--out", tmp_path / "c") == 2
    assert "is it of ICD-10?" in (told := capsys.readouterr().err)
    assert told.count("\n") == 1
    assert not (tmp_path / "c").exists()
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"note_id": "a", "text": "Heart failure.", "codes": ["428.0"]}) + "\n")
    assert command("prepare", "jsonl", other, "--classification", "icd10", "--out", tmp_path / "c") == 2
    assert "it is a code of ICD-9-CM" in capsys.readouterr().err
    assert command("prepare", "jsonl", notes, "--classification", "icd10", "--out", tmp_path / "d") == 0
    capsys.readouterr()
    wrong = ("--predictions", notes, "--gold", tmp_path / "d", "--classification", "icd9cm", "--out", tmp_path / "e")
    assert command("evaluate", *wrong) == 2
    assert "is coded in icd10, not in icd9cm" in capsys.readouterr().err


def test_a_coder_of_one_classification_is_not_used_on_notes_coded_in_another(notes, tmp_path, capsys):
    corpus, other, coder = tmp_path / "corpus", tmp_path / "other", tmp_path / "coder"
    lines = tmp_path / "other.jsonl"
    lines.write_text(json.dumps({"note_id": "a", "text": "Heart failure.", "codes": ["428.0"]}) + "\n")
    assert command("prepare", "jsonl", notes, "--classification", "icd10", "--out", corpus) == 0
    assert command("prepare", "jsonl", lines, "--out", other) == 0
    assert command("fit", "--corpus", corpus, "--experts", "spans", "--out", coder) == 0
    capsys.readouterr()
    assert command("code", "--corpus", other, "--coder", coder, "--out", tmp_path / "said.jsonl") == 2
    assert "is coded in icd9cm, not in icd10" in capsys.readouterr().err
    lines.write_text(json.dumps({"note_id": "a", "text": "Heart failure."}) + "\n")
    assert command("prepare", "jsonl", lines, "--out", tmp_path / "uncoded") == 0
    assert command("code", "--corpus", tmp_path / "uncoded", "--coder", coder, "--out", tmp_path / "said.jsonl") == 0


@pytest.mark.slow
def test_a_model_is_tuned_and_asked_on_both_trees(notes, tmp_path, capsys):
    corpus, tuned, scores = tmp_path / "corpus", tmp_path / "tuned", tmp_path / "scores"
    assert command("prepare", "jsonl", notes, "--classification", "icd10", "--out", corpus) == 0
    options = ("--model_name_or_path", "tiny", "--max_steps", 3, "--folds", 2)
    assert command("finetune", "--config", "synthetic-tiny", *options, "--corpus", corpus, "--output_dir", tuned) == 0
    assert command("score", "--corpus", corpus, "--tuned", tuned, "--out", scores) == 0
    concepts = ConceptSet.load(scores / "concepts.json")
    assert concepts.classification == "icd10"
    keys = [concept.key for concept in concepts.concepts]
    assert {
        "chapter:E00-E89",
        "category:E11",
        "subcategory:E11.6",
        "chapter:0",
        "category:0DT",
        "subcategory:0DTJ",
    } <= set(keys)
    selection = tmp_path / "selection.json"
    assert command("fit-selection", "--corpus", corpus, "--scores", scores, "--out", selection) == 0
    assert command("fit", "--corpus", corpus, "--scores", scores, "--out", tmp_path / "coder") == 0
    lines, other = tmp_path / "other.jsonl", tmp_path / "other"
    lines.write_text(json.dumps({"note_id": "n1", "text": "Heart failure.", "codes": ["428.0"]}) + "\n")
    assert command("prepare", "jsonl", lines, "--out", other) == 0
    capsys.readouterr()
    for verb in (("score", "--tuned", tuned), ("fit", "--scores", scores)):
        assert command(*verb, "--corpus", other, "--out", tmp_path / "never") == 2
        assert "is coded in icd9cm, not in icd10" in capsys.readouterr().err
        assert not (tmp_path / "never").exists()
    note = tmp_path / "note.txt"
    note.write_text("Has acute systolic heart failure.")
    capsys.readouterr()
    assert command("code", note, "--coder", tmp_path / "coder", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    (row,) = [row for row in result["codes"] if row["code"] == "0DTJ4ZZ"]
    assert row["kind"] == "procedure"
    assert row["path"] == ["0", "0D", "0DT", "0DTJ", "0DTJ4", "0DTJ4Z", "0DTJ4ZZ"]
