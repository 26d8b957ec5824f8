"""Tuning runs as users start them: what they leave, what they keep apart, what they refuse; in four bits."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from concept_icd.artifacts import read_json, read_manifest
from concept_icd.corpora import load_corpus, save_corpus, synthetic_notes
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.pipeline import fit_coder
from concept_icd.records import CodedNote
from concept_icd.scoring.adapters import score_corpus
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.specs import ADAPTER, CONCEPTS, FOLDS, PROMPT
from concept_icd.scoring.store import load_scores
from concept_icd.tuning import finetune as stage
from concept_icd.tuning.__main__ import main
from concept_icd.tuning.config import make_options, parse_options
from concept_icd.tuning.finetune import finetune
from tests.tuning.runs import flags, learned

ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors"}


def patients(notes: list[CodedNote], ids: set[str]) -> set[str | None]:
    return {note.note.patient_id for note in notes if note.note.note_id in ids}


@pytest.fixture(scope="module")
def run(corpus, llama, tmp_path_factory) -> tuple[Path, dict[str, set[str]]]:
    """A run with two folds, and the ids that each adapter was tuned on; no two of its models are there at once."""
    out = tmp_path_factory.mktemp("run") / "tuned"
    seen: dict[str, set[str]] = {}
    tune, load = stage.tune_adapter, stage.load_model
    models: list[weakref.ref] = []

    def watched(notes, *others):  # the real tuning, watched
        *_, folder, _taught = others
        seen[folder.name] = {note.note.note_id for note in notes}
        tune(notes, *others)

    def loaded(*arguments, **options):  # the real loading
        assert not any(model() is not None for model in models)
        found = load(*arguments, **options)
        models.append(weakref.ref(found.model))
        return found

    gc.disable()  # so that nothing goes away by luck
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "tune_adapter", watched)
            patch.setattr(stage, "load_model", loaded)
            finetune(parse_options(flags(corpus, llama, out)))
    finally:
        gc.enable()
    assert len(models) == 3
    return out, seen


def test_the_folder_holds_what_later_stages_read_and_no_pickle(run, llama):
    out, _ = run
    folders = (ADAPTER, "fold-0", "fold-1")
    assert {path.name for path in out.iterdir()} == {*folders, CONCEPTS, PROMPT, FOLDS, "run.json", "manifest.json"}
    for name in folders:
        assert {path.name for path in (out / name).iterdir()} == ADAPTER_FILES
        weights = load_file(out / name / "adapter_model.safetensors")
        assert max(tensor.abs().max() for key, tensor in weights.items() if "lora_B" in key) > 0
        assert load_model(llama, out / name)
    one, other = (load_file(out / name / "adapter_model.safetensors") for name in folders[1:])
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert read_json(out / ADAPTER / "adapter_config.json")["base_model_name_or_path"] == str(llama)


def test_no_adapter_saw_its_fold_nor_a_patient_of_it(run, corpus):
    out, seen = run
    notes = learned(corpus)
    everything = {note.note.note_id for note in notes}
    folds = read_json(out / FOLDS)
    assert folds.keys() == everything == seen[ADAPTER]
    assert len(patients(notes, everything)) < len(notes)  # some patients have several notes
    for name in ("fold-0", "fold-1"):
        blind = {note_id for note_id, fold in folds.items() if fold == name}
        assert blind
        assert seen[name] == everything - blind
        assert not patients(notes, blind) & patients(notes, seen[name])
    assert set(read_manifest(out, "finetune")["seen"]) == everything


def test_nothing_of_the_test_split_is_learned(run, corpus):
    out, _ = run
    codes = {code for note in learned(corpus) for code in note.codes}
    concepts = ConceptSet.load(out / CONCEPTS)
    assert set(concepts.codes) == codes
    assert {concept.level for concept in concepts.concepts} == {"chapter", "code"}
    manifest = read_manifest(out, "finetune")
    assert manifest["notes"] == len(learned(corpus))
    assert manifest["inputs"]["concepts"] == concepts.hash
    assert not set(manifest["seen"]) & {n.note.note_id for n in load_corpus(corpus).notes if n.split != "train"}


def test_tuning_scoring_and_coding_read_the_same_tokens(corpus, llama, tmp_path):
    """Of notes that are too long, by sections: the same ids in a training row and in the scorers of store and coder."""
    options = parse_options(
        flags(corpus, llama, tmp_path / "tuned", folds=0, max_length=200, note_text="sections", max_steps=1)
    )
    rows: list[list[int]] = []
    make = stage.training_rows

    def watched(*arguments):
        columns = make(*arguments)
        rows.extend(ids.tolist() for ids in columns["input_ids"])
        return columns

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "training_rows", watched)
        finetune(options)
    score_corpus([note.note for note in learned(corpus)], tmp_path / "tuned", tmp_path / "scores", in_sample=True)
    coder = fit_coder(tmp_path / "scores", learned(corpus), "train", allow_in_sample=True)
    read = {"max_length": 200, "load_in_4bit": False, "note_text": "sections"}
    assert coder.scorer_settings == {"scorer": "packed", **read}
    questions = [coder.scorer.tokens.encode_question(concept.text) for concept in coder.concepts.concepts]
    encoded = [coder.scorer.tokens.encode_note(note.note, max(map(len, questions))) for note in learned(corpus)]
    assert [list(note.ids) for note in encoded] == rows
    truncated = load_scores(tmp_path / "scores").truncated
    assert sorted(filter(None, truncated)) == sorted(note.truncated for note in encoded if note.truncated)
    assert any(reason and reason.startswith("to fit 200 tokens, left out: ") for reason in truncated)


def test_a_holdout_is_kept_from_the_only_adapter(corpus, llama, tmp_path):
    out = finetune(parse_options(flags(corpus, llama, tmp_path / "t", folds=0, holdout=0.3, max_steps=1)))
    notes, held = learned(corpus), read_json(out / FOLDS)
    assert set(held.values()) == {ADAPTER}
    seen = set(read_manifest(out, "finetune")["seen"])
    assert seen | held.keys() == {note.note.note_id for note in notes}
    assert not seen & held.keys()
    assert not patients(notes, set(held)) & patients(notes, seen)
    everyone = patients(notes, seen | held.keys())
    assert len(patients(notes, set(held))) == round(0.3 * len(everyone))
    assert not list(out.glob("fold-*"))


def test_a_finished_run_is_kept(run, corpus, llama, capsys):
    out, _ = run
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(flags(corpus, llama, out)) == 2
    err = capsys.readouterr().err
    assert err == f"concept-icd finetune: {out} is finished; name another folder or delete it to tune again\n"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_begun_run_takes_no_other_options_corpus_or_model(corpus, llama, qwen3, tmp_path):
    out = finetune(parse_options(flags(corpus, llama, tmp_path / "t", folds=0, max_steps=1)))
    (out / "manifest.json").unlink()  # as if killed before the end
    same = {"folds": 0, "max_steps": 1}
    for changes, named in (
        ({"learning_rate": 1.0}, "learning_rate"),
        ({"levels": "code", "negative_share": 0.5}, "levels, negative_share, the concepts itself"),
        ({"seed": 7}, "seed"),
        ({"lora_r": 4}, "lora_r"),
    ):
        with pytest.raises(InputError, match=rf"begun with other options \({named}\); name another folder"):
            finetune(parse_options(flags(corpus, llama, out, **same | changes)))
    with pytest.raises(InputError, match=r"model_name_or_path, the base model itself"):
        finetune(parse_options(flags(corpus, qwen3, out, **same)))
    notes = load_corpus(corpus).notes
    save_corpus(corpus, notes[:-1], overwrite=True)
    with pytest.raises(InputError, match="the corpus itself"):
        finetune(parse_options(flags(corpus, llama, out, **same)))
    save_corpus(corpus, notes, overwrite=True)
    assert finetune(parse_options(flags(corpus, llama, out, **same))) == out


def test_a_mistaken_option_can_be_mended_in_the_same_folder(corpus, llama, tmp_path, capsys):
    out = tmp_path / "t"
    out.mkdir()
    same = {"folds": 0, "max_steps": 1}
    assert main(flags(corpus, llama, out, lora_target_modules="q_prj v_prj", **same)) == 2
    assert (out / "run.json").exists()
    assert "not found in the base model" in capsys.readouterr().err
    assert main(flags(corpus, llama, out, lora_target_modules="q_proj v_proj", **same)) == 0
    assert "q_proj" in (out / ADAPTER / "adapter_config.json").read_text()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("learning_rat: 0.1", "unknown key 'learning_rat' (did you mean 'learning_rate'?)"),
        ("hold_out: 0.1", "unknown key 'hold_out' (did you mean 'holdout'?)"),
        ("lora_rank: 8", "unknown key 'lora_rank'"),
        ("- folds", "must be a mapping of options to values"),
        ("folds: [1", "is not valid YAML"),
        ("folds: 1", "folds must be 0 or at least 2, it is 1"),
        ("folds: two", "invalid int value: 'two'"),
        ("holdout: 0.5", "give folds or holdout, not both"),
        ("negative_share: 0", "negative_share must lie in (0, 1], it is 0"),
        ("note_text: section", "note_text must be whole or sections, it is 'section' (did you mean 'sections'?)"),
        ("levels: [chaptr]", "'chaptr' is no level (did you mean 'chapter'?)"),
        ("splits: [devel]", "no coded notes in the splits devel"),
        ("model_name_or_path: nowhere/at/all", "cannot load the base model 'nowhere/at/all'"),
        ("prompt: concpt", "concpt"),
        ("codes: nowhere.txt", "cannot read nowhere.txt"),
        ("classification: icd11", "icd11"),
    ],
)
def test_a_bad_config_is_one_line(corpus, llama, tmp_path, capsys, config, sentence, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "c.yaml").write_text(config + "\n")
    words = ["--config", str(tmp_path / "c.yaml"), "--corpus", str(corpus), "--output_dir", str(tmp_path / "t")]
    assert main(words if "model_name" in config else [*words, "--model_name_or_path", str(llama)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("adapter ")]
    assert len(lines) == 1
    assert lines[0].startswith("concept-icd finetune: ")
    assert sentence in lines[0]
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--corpus", "nowhere", "--output_dir", "{out}"], "nowhere has no manifest.json"),
        (["--output_dir", "{out}"], "arguments are required: --corpus"),
        (["--corpus", "{corpus}"], "name the folder of the adapters with --output_dir"),
        (["--config"], "--config needs the name of a YAML file"),
        (["--config=nowhere.yaml"], "cannot read the config nowhere.yaml"),
        (
            ["--config", "synthetic-tny"],
            "no config 'synthetic-tny' (did you mean 'synthetic-tiny'?); name one of cmc2007-",
        ),
        (["--learning_rte", "1"], "there is no option --learning_rte (did you mean 'learning_rate'?)"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--codes"], "expected one argument"),
    ],
)
def test_bad_flags_are_one_line(corpus, tmp_path, capsys, words, sentence):
    out = tmp_path / "t"
    assert main([word.format(out=out, corpus=corpus) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("concept-icd finetune: ")
    assert sentence in err
    assert not out.exists()


def test_options_from_python_name_the_nearest_too():
    with pytest.raises(InputError, match=r"no option 'negative_shares' \(did you mean 'negative_share'\?\)"):
        make_options(corpus="c", negative_shares=0.1)


def test_notes_of_one_patient_cannot_be_folded(llama, tmp_path):
    one = [
        dataclasses.replace(coded, note=dataclasses.replace(coded.note, patient_id="p"), split="train")
        for coded in synthetic_notes(notes=4, seed=0)
    ]
    save_corpus(tmp_path / "c", one)
    with pytest.raises(InputError, match="of one patient, so none can be kept from an adapter: set folds to 0"):
        finetune(parse_options(flags(tmp_path / "c", llama, tmp_path / "t")))
    finetune(parse_options(flags(tmp_path / "c", llama, tmp_path / "t", folds=0, max_steps=1)))


@pytest.mark.slow
def test_four_bits(corpus, llama, tmp_path):
    from bitsandbytes.nn import Linear4bit

    options = flags(corpus, llama, tmp_path / "t", folds=0, max_steps=1, load_in_4bit="true")
    out = finetune(parse_options(options))
    weights = load_file(out / ADAPTER / "adapter_model.safetensors")
    assert max(tensor.abs().max() for key, tensor in weights.items() if "lora_B" in key) > 0
    loaded = load_model(llama, out / ADAPTER, load_in_4bit=True)
    quantised = [module for module in loaded.model.modules() if isinstance(module, Linear4bit)]
    assert len(quantised) >= 14  # 7 matrices in each of 2 layers
    assert {module.weight.quant_type for module in quantised} == {"nf4"}
    concepts = ConceptSet.load(out / CONCEPTS)
    notes = [note.note for note in learned(corpus)[:2]]
    four = PackedScorer.from_pretrained(llama, out / ADAPTER, load_in_4bit=True).score(notes, concepts).logits
    full = PackedScorer.from_pretrained(llama, out / ADAPTER).score(notes, concepts).logits
    assert four.shape == full.shape
    assert abs(four - full).max() > 1e-4  # it is the quantised base that answered ...
    assert abs(four - full).mean() < 0.5 * full.std()  # ... and it says about the same
