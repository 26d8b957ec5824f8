"""A note is scored by an adapter that has not seen it, and the folder says so truthfully."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers

from concept_icd.artifacts import read_manifest, write_json, write_manifest
from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.pipeline import fit_coder
from concept_icd.records import CodedNote, Note
from concept_icd.scoring import adapters, packed
from concept_icd.scoring.adapters import plan_scoring, score_corpus
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.serialization import spec_from_json, spec_to_json
from concept_icd.scoring.specs import ADAPTER, CONCEPTS, FOLDS, PROMPT
from concept_icd.scoring.store import load_scores
from tests.fitted_coder import CODES, make_notes

TRAIN, NEW = make_notes(9, 0, "train"), make_notes(3, 1, "new")
FOLD_OF = {note.note_id: f"fold-{number % 2}" for number, note in enumerate(TRAIN)}


def build_adapter(model: Path, folder: Path, seed: int) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(model)
    tuned = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(seed)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    tuned.save_pretrained(str(folder))


def tuned_folder(folder: Path, model: Path, blind: dict[str, str], seen: list[str]) -> Path:
    """What a tuning run leaves, with adapters that differ clearly."""
    folder.mkdir()
    for seed, name in enumerate(sorted({ADAPTER, *blind.values()})):
        build_adapter(model, folder / name, seed)
    ConceptSet.expand(CODES, load_ontology("icd9cm")).save(folder / CONCEPTS)
    PromptTemplate.load().save(folder / PROMPT)
    write_json(folder / FOLDS, blind)
    config = {"model_name_or_path": str(model), "load_in_4bit": False}
    write_manifest(folder, "finetune", inputs={}, config=config, seed=0, seconds=0.0, seen=seen)
    return folder


@pytest.fixture(scope="module")
def folds(llama, tmp_path_factory) -> Path:
    """Nine training notes in two folds."""
    return tuned_folder(tmp_path_factory.mktemp("folds") / "tuned", llama, FOLD_OF, list(FOLD_OF))


def expected(tuned: Path, model: Path, name: str, notes) -> np.ndarray:
    scorer = PackedScorer.from_pretrained(model, tuned / name, PromptTemplate.load(tuned / PROMPT))
    return scorer.score(notes, ConceptSet.load(tuned / CONCEPTS)).logits


def test_each_training_note_is_scored_by_the_adapter_of_its_fold(folds, llama, tmp_path):
    score_corpus([*TRAIN, *NEW], folds, tmp_path / "s")
    scores = load_scores(tmp_path / "s")
    assert scores.out_of_fold
    assert len(scores) == 12
    by_name = {name: expected(folds, llama, name, [*TRAIN, *NEW]) for name in (ADAPTER, "fold-0", "fold-1")}
    for row, note in enumerate([*TRAIN, *NEW]):
        found = scores.select([note.note_id]).logits[0]
        distances = {name: np.abs(logits[row] - found).max() for name, logits in by_name.items()}
        own = FOLD_OF.get(note.note_id, ADAPTER)
        assert distances.pop(own) < 1e-4
        assert min(distances.values()) > 0.05


def test_notes_that_every_adapter_saw_are_left_out_or_marked(llama, tmp_path, capsys):
    """A holdout of three notes: the six others were seen by the only adapter."""
    held = {note.note_id: ADAPTER for note in TRAIN[:3]}
    seen = [note.note_id for note in TRAIN[3:]]
    tuned = tuned_folder(tmp_path / "tuned", llama, held, seen)
    score_corpus([*TRAIN, *NEW], tuned, tmp_path / "left-out")
    assert "left out: 6 of 12 notes, which every adapter was tuned on" in capsys.readouterr().err
    assert set(load_scores(tmp_path / "left-out").note_ids) == {note.note_id for note in (*TRAIN[:3], *NEW)}
    assert load_scores(tmp_path / "left-out").out_of_fold
    with pytest.raises(InputError, match="all 6 notes were seen by every adapter"):
        score_corpus(TRAIN[3:], tuned, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    score_corpus([*TRAIN, *NEW], tuned, tmp_path / "s", in_sample=True)
    assert not load_scores(tmp_path / "s").out_of_fold
    score_corpus([*TRAIN[:3], *NEW], tuned, tmp_path / "held")
    assert load_scores(tmp_path / "held").out_of_fold
    # In sample or not is a setting: the one is not resumed as the other.
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"other settings .*out_of_fold"):
        score_corpus([*TRAIN[:3], *NEW], tuned, tmp_path / "s")


def test_a_scorer_is_json_that_another_process_can_make_it_from(folds, llama):
    scoring = plan_scoring([*TRAIN, *NEW], folds, max_length=300)
    assert list(scoring.notes) == sorted(scoring.specs) == [ADAPTER, "fold-0", "fold-1"]
    spec = spec_from_json(spec_to_json(scoring.specs["fold-1"]))
    assert spec == scoring.specs["fold-1"]
    scorer = spec.make()
    assert scorer.tokens.max_length == 300
    found = [record.logits for record in scorer.iter_scores(TRAIN[:1], scoring.concepts.concepts)]
    np.testing.assert_allclose(found, expected(folds, llama, "fold-1", TRAIN[:1]), atol=1e-4)
    with pytest.raises(TypeError, match="is a method; another process needs a ScorerSpec"):
        spec_to_json(spec.make)


def test_one_model_at_a_time_and_none_for_shards_that_are_there(folds, tmp_path, monkeypatch, request):
    """Two large models do not fit at once. The first is gone before the second is loaded."""
    made, load = [], packed.load_model
    gc.disable()  # so that nothing goes away by luck
    request.addfinalizer(gc.enable)

    def loaded(*arguments, **options):  # the real loading
        assert not any(model() is not None for model in made)
        found = load(*arguments, **options)
        made.append(weakref.ref(found.model))
        return found

    monkeypatch.setattr(packed, "load_model", loaded)
    score_corpus([*TRAIN, *NEW], folds, tmp_path / "s", shard_notes=2)
    assert len(made) == 3
    next((tmp_path / "s" / "shards").glob("00000.parquet")).unlink()
    score_corpus([*TRAIN, *NEW], folds, tmp_path / "s", shard_notes=2)
    assert len(made) == 4


def test_other_concepts_than_the_tunings_can_be_asked(folds, tmp_path):
    concepts = ConceptSet.expand(["428.0", "250.00"], load_ontology("icd9cm"))
    score_corpus(NEW, folds, tmp_path / "s", concepts=concepts)
    scores = load_scores(tmp_path / "s")
    assert (scores.concept_hash, scores.logits.shape) == (concepts.hash, (3, len(concepts)))


def test_an_exchanged_adapter_or_length_is_another_setting(folds, llama, tmp_path):
    tuned = tuned_folder(tmp_path / "tuned", llama, FOLD_OF, list(FOLD_OF))
    score_corpus(TRAIN, tuned, tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"other settings \(max_length\)"):
        score_corpus(TRAIN, tuned, tmp_path / "s", max_length=100)
    with pytest.raises(InputError, match=r"other settings \(dtype\)"):
        score_corpus(TRAIN, tuned, tmp_path / "s", dtype="bfloat16")
    with pytest.raises(InputError, match=r"other settings \(scorer\)"):
        score_corpus(TRAIN, tuned, tmp_path / "s", kind="vllm")
    build_adapter(llama, tuned / "fold-1", seed=9)
    with pytest.raises(InputError, match=r"other settings \(weights\)"):
        score_corpus(TRAIN, tuned, tmp_path / "s")


def test_a_note_is_read_as_in_tuning_unless_said_otherwise(llama, tmp_path):
    tuned = tuned_folder(tmp_path / "tuned", llama, FOLD_OF, list(FOLD_OF))
    config = {"model_name_or_path": str(llama), "load_in_4bit": False, "max_length": 190, "note_text": "sections"}
    write_manifest(tuned, "finetune", inputs={}, config=config, seed=0, seconds=0.0, seen=[])
    text = "Social History: " + "normal " * 90 + "\nDischarge Diagnosis: pneumonia\n"
    truncated = {}
    for name, asked in (("as tuned", {}), ("whole", {"note_text": "whole"}), ("long", {"max_length": 400})):
        score_corpus([Note("n", text)], tuned, tmp_path / name, **asked)
        settings = read_manifest(tmp_path / name, "score")["config"]
        assert {key: settings[key] for key in ("max_length", "note_text")} == {
            key: asked.get(key, config[key]) for key in ("max_length", "note_text")
        }
        truncated[name] = load_scores(tmp_path / name).truncated[0]
    assert truncated["as tuned"].startswith("to fit 190 tokens, Social History was cut")
    assert truncated["whole"].startswith("the note's end was not read")
    assert truncated["long"] is None
    with pytest.raises(InputError, match="note_text must be whole or sections"):
        score_corpus([Note("n", text)], tuned, tmp_path / "wrong", note_text="all")
    assert not (tmp_path / "wrong").exists()


def test_a_coder_keeps_the_precision_of_its_scores(folds, tmp_path):
    notes = [CodedNote(note, ("486",) if number % 2 else ("786.2",)) for number, note in enumerate(TRAIN)]
    for dtype in (None, "bfloat16"):
        out = tmp_path / str(dtype)
        score_corpus(TRAIN, folds, out, **({"dtype": dtype} if dtype else {}))
        assert read_manifest(out, "score")["config"]["dtype"] == dtype
        assert fit_coder(out, notes, None).scorer_settings.get("dtype") == dtype
    full, half = load_scores(tmp_path / "None").logits, load_scores(tmp_path / "bfloat16").logits
    assert 0 < np.abs(full - half).max() < np.ptp(full) / 4


def test_on_a_gpu_the_store_says_which_precision_was_taken(folds, tmp_path, monkeypatch):
    """What a GPU takes by itself is half precision; Ray's workers decide for themselves."""
    given = []
    monkeypatch.setattr(adapters, "fill_store", lambda *_, settings, **__: given.append(settings["dtype"]))
    score_corpus(TRAIN, folds, tmp_path / "scores")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    score_corpus(TRAIN, folds, tmp_path / "scores")
    score_corpus(TRAIN, folds, tmp_path / "scores", device="cpu")
    score_corpus(TRAIN, folds, tmp_path / "scores", dtype="float32")
    score_corpus(TRAIN, folds, tmp_path / "scores", kind="server")
    assert given == [None, "bfloat16", None, "float32", None]


def test_the_base_may_lie_elsewhere_and_is_then_the_coders(folds, llama, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(llama, moved)
    score_corpus(NEW, folds, tmp_path / "scores", model=moved)
    np.testing.assert_allclose(load_scores(tmp_path / "scores").logits, expected(folds, llama, ADAPTER, NEW), atol=1e-4)
    assert read_manifest(tmp_path / "scores", "score")["config"]["model"] == str(moved)


def test_gold_codes_cannot_come_in(folds, tmp_path):
    with pytest.raises(TypeError, match="gold codes must not reach it"):
        score_corpus([CodedNote(TRAIN[0], ("486",))], folds, tmp_path / "s")


def test_what_is_no_finished_tuning_run_is_refused(folds, tmp_path):
    (tmp_path / "begun").mkdir()
    with pytest.raises(InputError, match=r"begun has no manifest\.json: .* incomplete"):
        score_corpus(NEW, tmp_path / "begun", tmp_path / "s")
    score_corpus(NEW, folds, tmp_path / "s")
    assert read_manifest(tmp_path / "s", "score")["config"]["adapter"] == str(folds / ADAPTER)
    with pytest.raises(InputError, match="was written by `score`, not by `finetune`"):
        score_corpus(NEW, tmp_path / "s", tmp_path / "t")
    assert not (tmp_path / "t").exists()
