"""A model's answers about uncoded notes, learned by another as soft targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import expit

from concept_icd.artifacts import read_manifest
from concept_icd.corpora import load_corpus, save_corpus, synthetic_notes
from concept_icd.errors import InputError
from concept_icd.ontology import load_ontology
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote
from concept_icd.scoring.adapters import score_corpus
from concept_icd.scoring.store import load_scores
from concept_icd.tuning.config import parse_options
from concept_icd.tuning.distillation import LEAST, taught_notes
from concept_icd.tuning.examples import NO_ANSWER, PackedCollator
from concept_icd.tuning.finetune import finetune
from tests.tuning.runs import flags

QUESTIONS = [[11], [12], [13], [14]]


def row(targets: list[float], taught: bool) -> dict:
    positives = [index for index, target in enumerate(targets) if target]
    said = [targets[index] for index in positives]
    return {"input_ids": [1, 2, 3], "positives": positives, "targets": said, "taught": taught}


def asked_shares_and_targets(collator: PackedCollator, one: dict, draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Per question: how often it was asked, and the mean target where it was; questions are told by their token."""
    count, total = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for _ in range(draws):
        batch = collator([one])
        labels = batch["labels"][0]
        answered = labels[labels != NO_ANSWER]
        tokens = [token for token in batch["input_ids"][0].tolist() if token >= 11]
        for token, answer in zip(tokens, answered.tolist(), strict=True):
            count[token - 11] += 1
            total[token - 11] += answer
    return count / draws, total / count


def test_a_taught_target_is_asked_as_often_as_one_that_is_true_with_its_chance():
    """So that the prior correction gives the teacher's own log-odds back, whatever the shares."""
    torch.manual_seed(0)
    collator = PackedCollator(QUESTIONS, 0, positive_share=1.0, negative_share=0.2)
    shares, targets = asked_shares_and_targets(collator, row([0.9, 0.25, 0.0, 1.0], True), 4000)
    probability = torch.tensor([0.9, 0.25, 0.0, 1.0], dtype=torch.float64)
    wanted = probability + (1 - probability) * 0.2
    assert shares == pytest.approx(wanted, abs=0.04)
    # log-odds of the target minus the sampling offset = the teacher's log-odds
    margins = torch.logit(targets[:2]) - collator.sampling_offset
    assert torch.sigmoid(margins) == pytest.approx(probability[:2], abs=1e-5)
    assert targets[2:].tolist() == [0, 1]
    # A coded note's soft target is asked for sure, as before.
    shares, targets = asked_shares_and_targets(collator, row([0.9, 0.25, 0.0, 1.0], False), 300)
    assert shares[[0, 1, 3]].tolist() == [1, 1, 1]
    assert targets.tolist() == pytest.approx([0.9, 0.25, 0, 1])


@pytest.fixture(scope="module")
def taught(corpus, llama, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A corpus without codes, a tuned teacher and its scores of that corpus."""
    folder = tmp_path_factory.mktemp("teacher")
    bare = [
        replace(note, note=replace(note.note, note_id=f"open-{note.note.note_id}"), diagnoses=(), procedures=())
        for note in synthetic_notes(notes=12, seed=9)
    ]
    save_corpus(folder / "open", bare)
    finetune(parse_options(flags(corpus, llama, folder / "teacher", folds=0)))
    score_corpus([coded.note for coded in bare], folder / "teacher", folder / "scores")
    return folder / "open", folder / "teacher", folder / "scores"


def test_the_teachers_probabilities_are_read_by_concept(taught):
    notes, teacher, scores = taught
    asked = ConceptSet.load(teacher / "concepts.json")
    fewer = ConceptSet(asked.codes, tuple(reversed(asked.concepts[3:])))
    found = taught_notes(notes, scores, fewer, own=())
    wanted = load_scores(scores)
    assert [note.note.note_id for note in found] == list(wanted.note_ids)
    probability = expit(wanted.logits[:, :2:-1].astype(float))
    probability[probability < LEAST] = 0
    assert np.stack([note.targets for note in found]) == pytest.approx(probability, abs=1e-6)


@pytest.mark.slow
def test_a_run_learns_from_the_teacher_and_says_so(corpus, llama, taught, tmp_path, capsys):
    notes, _, scores = taught
    own = {"folds": 0, "max_steps": 4}
    with_teacher = {**own, "distil_corpus": notes, "distil_scores": scores}
    finetune(parse_options(flags(corpus, llama, tmp_path / "with", **with_teacher)))
    assert "learned from a teacher beside the coded notes: 12 notes" in capsys.readouterr().err
    finetune(parse_options(flags(corpus, llama, tmp_path / "without", **own)))
    manifest = read_manifest(tmp_path / "with", "finetune")
    assert manifest["config"]["distil_scores"] == str(scores)
    assert set(manifest["inputs"]) == {"corpus", "concepts", "prompt", "distilled scores"}
    one, other = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("with", "without"))
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_what_cannot_be_taught_is_one_sentence(corpus, llama, taught, tmp_path):
    notes, teacher, scores = taught
    asked = ConceptSet.load(teacher / "concepts.json")
    with pytest.raises(InputError, match="1 notes to distil from are notes of the corpus itself, such as 'open-"):
        taught_notes(notes, scores, asked, own={load_corpus(notes).notes[0].note.note_id})
    save_corpus(tmp_path / "other", [CodedNote(replace(load_corpus(notes).notes[0].note, note_id="x"), (), ())])
    with pytest.raises(InputError, match="none of the 1 notes of"):
        taught_notes(tmp_path / "other", scores, asked, own=())
    more = ConceptSet.expand(("E886.9",), load_ontology(), levels=("code",))
    with pytest.raises(InputError, match=r"lacks 1 of 1 concepts, such as code:E886\.9"):
        taught_notes(notes, scores, more, own=())
    with pytest.raises(InputError, match="distil_corpus and distil_scores go together"):
        parse_options(flags(corpus, llama, tmp_path / "t", distil_scores=scores))
    (tmp_path / "codes.txt").write_text("\n".join(asked.codes) + "\n")
    save_corpus(tmp_path / "coded", [replace(note, diagnoses=("486",)) for note in load_corpus(notes).notes])
    own = {"folds": 0, "codes": tmp_path / "codes.txt", "distil_corpus": notes, "distil_scores": scores}
    options = parse_options(flags(tmp_path / "coded", llama, tmp_path / "t", **own))
    with pytest.raises(InputError, match="notes to distil from are notes of the corpus itself"):
        finetune(options)
