"""`concept-icd score` and what it says beforehand; small runs on a random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concept_icd.artifacts import read_manifest
from concept_icd.cli.main import main
from concept_icd.corpora import save_corpus
from concept_icd.doctor.cost_model import scoring_flops, shape_of
from concept_icd.doctor.tokens import count_tokens, estimate_hours
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.adapters import plan_scoring
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.selection import SelectionRule
from concept_icd.scoring.specs import CONCEPTS, PROMPT
from concept_icd.scoring.store import load_scores
from tests.conftest import build_tokenizer
from tests.fitted_coder import make_notes
from tests.scoring.test_adapters import tuned_folder

NOTES = make_notes(12, 0, "note")


@pytest.fixture(scope="module")
def tuned(llama, tmp_path_factory) -> Path:
    return tuned_folder(tmp_path_factory.mktemp("cli") / "tuned", llama, {}, [])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "corpus"
    save_corpus(folder, [CodedNote(note, ("486",)) for note in NOTES])
    return folder


@pytest.fixture
def score(tuned, corpus, tmp_path, capsys):
    """Runs the verb; the exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        line = ["score", "--corpus", corpus, "--tuned", tuned, *words]
        code = main([*map(str, line)])
        return code, *capsys.readouterr()

    return run


def test_a_run_a_second_run_and_a_damaged_one(score, tmp_path):
    out = tmp_path / "scores"
    code, said, progress = score("--out", out, "--shard-notes", 5)
    assert (code, said) == (0, f"{out}\n")
    assert "notes/s" in progress
    assert "tokens/s" in progress
    assert "from the cache" in progress
    assert len(load_scores(out)) == 12
    shards = sorted((out / "shards").iterdir())
    assert len(shards) == 3
    code, said, told = score("--out", out, "--shard-notes", 5)
    assert (code, said, told) == (0, f"{out}\n", f"{out} is complete: every shard is there and whole\n")
    logits = load_scores(out).logits
    shards[1].write_bytes(b"")
    code, said, told = score("--out", out, "--shard-notes", 5)
    assert code == 0
    assert "12/12 notes" in told
    assert load_scores(out).logits.tobytes() == logits.tobytes()
    assert read_manifest(out, "score")["config"]["scorer"] == "packed"


def test_limit_takes_the_first_notes(score, tmp_path):
    assert score("--out", tmp_path / "s", "--limit", 3)[0] == 0
    assert load_scores(tmp_path / "s").note_ids == ("note-0", "note-1", "note-2")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--limit 2", "--out is missing"),
        ("--out {t} --shard-notes 0", "--shard-notes 0: a number from 1 up"),
        ("--out {t} --engine ray --workers 0", "--workers 0: a number from 1 up"),
        ("--out {t} --workers 2", "--workers does nothing without --engine ray"),
        ("--out {t} --ray-address auto", "--ray-address does nothing without --engine ray"),
        ("--out {t} --scorer server --server-url http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("--out {t} --server-url http://127.0.0.1:1", "--server-url does nothing without --scorer server"),
        ("--out {t} --tensor-parallel 2", "--tensor-parallel does nothing without --scorer vllm"),
        ("--out {t} --scorer vllm --device cpu", "--device does nothing without --scorer packed"),
        ("--out {t} --price-per-hour 2", "--price-per-hour does nothing without --dry-run"),
        ("--out {t} --json", "--json does nothing without --dry-run"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(score, tmp_path, words, sentence):
    code, said, told = score(*words.format(t=tmp_path / "s").split())
    assert (code, said) == (2, "")
    assert sentence in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_model_or_adapter_missing_is_one_sentence(llama, corpus, tmp_path, capsys):
    for number, (missing, sentence) in enumerate(
        (("model", "cannot load the base model"), ("adapter", "is not a LoRA adapter"))
    ):
        tuned = tuned_folder(tmp_path / f"tuned-{number}", llama, {}, [])
        if missing == "model":
            manifest = json.loads((tuned / "manifest.json").read_text())
            manifest["config"]["model_name_or_path"] = str(tmp_path / "no-such-model")
            (tuned / "manifest.json").write_text(json.dumps(manifest))
        else:
            (tuned / "adapter" / "adapter_model.safetensors").unlink()
        capsys.readouterr()
        line = ["score", "--corpus", corpus, "--tuned", tuned, "--out", tmp_path / "s"]
        assert main([*map(str, line)]) == 2
        told = capsys.readouterr().err
        assert sentence in told
        assert told.count("\n") == 1
        assert not (tmp_path / "s").exists()


def test_a_dry_run_counts_the_tokens_of_the_run(score, tuned, llama, tmp_path):
    code, said, _ = score("--dry-run", "--json", "--price-per-hour", 3.6)
    record = json.loads(said)
    assert code == 0
    assert (record["notes"], record["notes_counted"], record["tokens_margin"]) == (12, 12, 0.0)
    scorer = PackedScorer.from_pretrained(llama, tuned / "adapter", PromptTemplate.load(tuned / PROMPT))
    concepts = ConceptSet.load(tuned / CONCEPTS)
    scored = list(scorer.iter_scores(NOTES, concepts.concepts))
    assert record["tokens_computed"] == sum(note.computed for note in scored)
    assert record["tokens_reused"] == sum(note.reused for note in scored)
    tokens = TokenizedPrompt(scorer.tokens.template, build_tokenizer(), 512)
    questions = [len(tokens.encode_concept(concept)) for concept in concepts.concepts]
    plain = sum(
        len(tokens.encode_note(note, max(questions)).ids) + question for note in NOTES for question in questions
    )
    assert record["times_fewer_than_one_prompt_a_question"] == pytest.approx(plain / record["tokens_computed"])
    h100 = next(row for row in record["estimates"] if row["device"].startswith("H100"))
    flops = sum(
        scoring_flops(shape_of(str(llama)), len(tokens.encode_note(note, max(questions)).ids), sum(questions))
        for note in NOTES
    )
    assert h100["seconds"] == pytest.approx(1.055 * flops / (0.4 * 989e12))
    assert h100["cost"] == pytest.approx(h100["seconds"] * 0.001)
    assert not list(tmp_path.iterdir())
    code, said, _ = score("--dry-run", "--out", tmp_path / "s")
    assert code == 0
    assert f"{record['tokens_computed']:,}" in said
    assert "cost" not in said
    assert not list(tmp_path.iterdir())


def test_of_many_notes_a_sample_stands_for_all(tuned):
    notes = make_notes(600, 1, "many")
    scoring = plan_scoring([*notes, Note("blank", "")], tuned)
    whole, part = count_tokens(scoring), count_tokens(scoring, sample=150)
    assert (whole.notes, whole.flawed, whole.counted, whole.margin) == (600, 1, 600, 0.0)
    assert (part.notes, part.counted) == (600, 150)
    assert 0 < part.margin < 0.1
    assert part.computed == pytest.approx(whole.computed, rel=2 * part.margin)
    assert part.computed != whole.computed
    assert estimate_hours(part, str(scoring.settings["model"]))[0].cost is None


def test_a_descent_asks_its_budget_of_other_codes(score, tuned, tmp_path):
    rule, codes, out = tmp_path / "descent.json", tmp_path / "codes.txt", tmp_path / "s"
    codes.write_text("428.0\n428.21\n486\n493.90\n599.0\n38.93\n")
    SelectionRule({"chapter": -1e9}, {"chapter": -3.0}, budget=9, retrieve=1).save(rule)
    words = ("--codes", codes, "--selection", rule)
    assert json.loads(score("--dry-run", "--json", *words)[1])["concepts"] == 9
    code, said, told = score("--out", out, *words, "--limit", 4)
    assert (code, said) == (0, f"{out}\n"), told
    scores, concepts = load_scores(out), ConceptSet.load(out / CONCEPTS)
    assert concepts.codes == tuple(codes.read_text().split())
    chapters = [row for row, concept in enumerate(concepts.concepts) if concept.level == "chapter"]
    asked = scores.asked.toarray()
    assert asked[:, chapters].all()
    assert (asked.sum(axis=1) <= 9).all()
    assert (scores.logits[~asked] == -3.0).all()
    assert SelectionRule.load(out / "descent.json") == SelectionRule.load(rule)
    code, _, told = score("--out", out, *words, "--limit", 4, "--retrieve", 2)
    assert code == 2
    assert "other settings (plan)" in told
