"""The concept head: what it starts from, that a note's neighbours do not matter to it, and that it travels."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.concept_head import ConceptHead, add_concept_head, read_states, start_from_titles
from concept_icd.llm.packed_pass import head_margins
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.llm.reference import ADAPTER_FILES, CONCEPT_HEAD, HEAD_SIZE, ModelReference
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.pipeline import fit_coder
from concept_icd.records import Concept, Note
from concept_icd.scoring.adapters import score_corpus
from concept_icd.scoring.numpy_llama import LightScorer
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.plain import PlainScorer
from concept_icd.scoring.server import ServerScorer
from concept_icd.scoring.specs import ADAPTER, CONCEPTS
from concept_icd.scoring.store import load_scores
from concept_icd.scoring.vllm import VllmScorer
from concept_icd.tuning.arguments import ConceptArguments
from concept_icd.tuning.config import parse_options
from concept_icd.tuning.examples import NO_ANSWER, PackedCollator
from concept_icd.tuning.finetune import finetune
from concept_icd.tuning.trainer import answer_loss
from tests.tuning.runs import flags, learned, process, wait_for
from tests.tuning.test_trainer import CONCEPTS as FOUR
from tests.tuning.test_trainer import NOTES, rows_of

NAMES = [concept.key for concept in FOUR.concepts]
TEXTS = [coded.note for coded in NOTES]


def started(model) -> tuple[ConceptHead, TokenizedPrompt]:
    """A head on the four concepts' titles, whose vectors then moved a little."""
    loaded = load_model(model)
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)
    titles = [tokens.encode_note(Note(concept.key, concept.text), 1).ids for concept in FOUR.concepts]
    head = start_from_titles(loaded.model, titles, tokens.around, NAMES, np.array([-1.0, -2.0, -2.0, -0.5]))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return head, tokens


@pytest.fixture(params=["llama", "qwen3"])
def adapted(request, tmp_path) -> tuple[Path, Path, ConceptHead]:
    """A model, an adapter on it with a head, and this."""
    model, folder = request.getfixturevalue(request.param), tmp_path / "adapter"
    shutil.copytree(request.getfixturevalue(f"{request.param}_adapter"), folder)
    head, _ = started(model)
    head.save(folder)
    return model, folder, head


def by_hand(head: ConceptHead, states: np.ndarray) -> np.ndarray:
    """The formulas of the module, in float64, for one note's states (tokens, hidden size)."""
    w = {name: value.detach().double().numpy() for name, value in head.state_dict().items()}
    scaled = states / w["scale"]
    keys = scaled @ w["key_weight"].T + w["key_bias"]
    values = scaled @ w["value_weight"].T + w["value_bias"]
    size = keys.shape[1]
    attention = np.exp(w["queries"] @ keys.T / np.sqrt(size))
    attention /= attention.sum(axis=1, keepdims=True)
    return ((attention @ values) * w["outputs"]).sum(axis=1) / np.sqrt(size) + w["bias"]


@pytest.mark.parametrize("merge", [True, False])
def test_scores_are_the_formula_alone_and_in_a_batch(adapted, merge):
    model, adapter, head = adapted
    scorer = PackedScorer.from_pretrained(model, adapter, merge=merge)
    together = scorer.score(TEXTS, FOUR).logits
    alone = np.concatenate([scorer.score([note], FOUR).logits for note in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together) > 0.5

    shutil.copytree(adapter, adapter.with_name("bare"), ignore=lambda *_: [CONCEPT_HEAD])
    bare = load_model(model, adapter.with_name("bare"), merge=merge)
    for note, row in zip(TEXTS, together, strict=True):
        ids = torch.tensor([scorer.tokens.encode_note(note, 1).ids])
        with torch.no_grad():
            states = bare.model(ids, output_hidden_states=True).hidden_states[-1][0].double().numpy()
        np.testing.assert_allclose(row, by_hand(head, states), atol=1e-4)

    # A part of the concepts, in another order, scores as in the whole set.
    part = ConceptSet(("486", "780.6"), (FOUR.concepts[3], FOUR.concepts[1]))
    np.testing.assert_allclose(scorer.score(TEXTS, part).logits, together[:, [3, 1]], atol=1e-4)


def test_the_price_is_the_note_whatever_is_asked(adapted):
    model, adapter, _ = adapted
    scorer = PackedScorer.from_pretrained(model, adapter)
    for scores in scorer.iter_scores(TEXTS, FOUR.concepts):
        note = next(note for note in TEXTS if note.note_id == scores.note_id)
        assert scores.computed == len(scorer.tokens.encode_note(note, 1).ids)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_loss_and_gradient_of_a_padded_batch_are_those_of_notes_alone(family, request):
    model = request.getfixturevalue(family)
    head, tokens = started(model)
    loaded = load_model(model)
    loaded.model.requires_grad_(False)  # as LoRA leaves it
    add_concept_head(loaded.model, head)
    rows = rows_of(tokens)
    targets = torch.stack([torch.tensor(FOUR.weak_labels(coded.codes)) for coded in NOTES])

    every = torch.arange(len(NAMES))[None]
    losses = [
        answer_loss(head(read_states(loaded.model, torch.tensor(row["input_ids"])[None].long()), every), target[None])
        for row, target in zip(rows, targets, strict=True)
    ]
    (torch.stack(losses).sum() / targets.numel()).backward()
    plain = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    head.zero_grad()

    tokens.learned = head.rows
    collator = PackedCollator([tokens.encode_concept(concept) for concept in FOUR.concepts], 0, negative_share=1.0)
    batch = collator(rows)
    labels = batch.pop("labels")
    margins = head_margins(loaded.model, batch, labels.shape[1])
    (answer_loss(margins, labels) / (labels != NO_ANSWER).sum()).backward()
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name], atol=2e-5, rtol=1e-3)
    assert plain["queries"].abs().max() > 1e-4

    # Rows that ask different concepts: each margin stands where its answer does.
    torch.manual_seed(1)
    some = PackedCollator(collator.questions, 0, negative_share=0.3)(rows)
    answers = some.pop("labels")
    found = head_margins(loaded.model, some, answers.shape[1])[answers != NO_ANSWER]
    asked = some["input_ids"][:, -answers.shape[1] :]
    where = [(row, int(asked[row, column])) for row, column in (answers != NO_ANSWER).nonzero().tolist()]
    assert len(where) < targets.numel()
    whole = head_margins(loaded.model, batch, labels.shape[1])
    torch.testing.assert_close(found, torch.stack([whole[place] for place in where]), atol=1e-4, rtol=0)


def test_a_head_starts_by_looking_for_its_title():
    """Without any training, a note that says the title scores higher than one that does not, for most of the titles."""
    loaded = load_model("tiny")
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)
    titles = ["pneumonia", "urinary tract infection", "fever", "hydronephrosis", "asthma", "fracture of the wrist"]
    ids = [tokens.encode_note(Note(title, title), 1).ids for title in titles]
    log_odds = np.full(len(titles), -3.0)
    head = start_from_titles(loaded.model, ids, tokens.around, titles, log_odds)
    assert head.queries.shape == (len(titles), HEAD_SIZE)
    with torch.no_grad():
        scores = torch.cat(
            [
                head(
                    read_states(loaded.model, torch.tensor([tokens.encode_note(Note("n", text), 1).ids])),
                    torch.arange(6)[None],
                )
                for text in (f"Cough for two days. Impression: {title}." for title in titles)
            ]
        )
    own = scores.diagonal()
    assert (own > (scores.sum(0) - own) / (len(titles) - 1)).sum() >= 5
    np.testing.assert_allclose(head.bias.detach(), log_odds)


def test_the_file_gives_back_what_was_saved(adapted, tmp_path):
    model, adapter, head = adapted
    assert ConceptHead.load(tmp_path) is None
    found = ConceptHead.load(adapter)
    assert found.keys == tuple(NAMES)
    assert all(torch.equal(value, head.state_dict()[name]) for name, value in found.state_dict().items())
    reference = ModelReference.of(model, adapter)
    whole = (adapter / CONCEPT_HEAD).read_bytes()
    for damaged in (
        whole[:-10],
        b"",
        whole.replace(b'"keys"', b'"kexs"', 1),
        whole.replace(NAMES[2].encode(), NAMES[3].encode()),  # a concept twice
    ):
        (adapter / CONCEPT_HEAD).write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged: tune the adapter again"):
            ConceptHead.load(adapter)
        with pytest.raises(InputError, match="damaged or exchanged"):
            reference.check()


def test_another_concept_set_base_or_scorer_is_one_sentence(adapted):
    model, adapter, head = adapted
    scorer = PackedScorer.from_pretrained(model, adapter)
    other = ConceptSet(("250.00",), (Concept("code:250.00", "code", "diabetes", ("250.00",)),))
    with pytest.raises(InputError, match=r"has learned no question about the concept 'code:250\.00': ask the concept"):
        scorer.score([Note("a", "cough")], other)
    for kind in (VllmScorer, ServerScorer, PlainScorer, LightScorer):
        with pytest.raises(InputError, match=r"answers by a concept head, for which .* use the packed scorer"):
            kind.from_pretrained(model, adapter)
    tensors = {name: value.clone() for name, value in head.state_dict().items()}
    narrow = {name: value[:, :64] if name.endswith("weight") else value for name, value in tensors.items()}
    ConceptHead(NAMES, narrow).save(adapter)
    with pytest.raises(InputError, match="reads 64 dimensions, the base model has 128: name the base model"):
        load_model(model, adapter)


def test_the_ways_of_asking_are_one_option():
    assert ConceptArguments("c").question_tokens is None
    assert ConceptArguments("c", question_tokens=3).question_tokens == 3  # as configs of earlier versions say it
    assert ConceptArguments("c", asking="tokens").question_tokens == 2
    assert ConceptArguments("c", asking="tokens", question_tokens=1).question_tokens == 1
    with pytest.raises(InputError, match=r"asking must be words, tokens or head, it is 'heads' .did you mean 'head'"):
        ConceptArguments("c", asking="heads")
    for way in ("words", "head"):
        with pytest.raises(InputError, match=f"asking {way} learns no tokens: leave question_tokens out"):
            ConceptArguments("c", asking=way, question_tokens=2)


def test_from_tuning_to_a_coder_that_is_loaded_again(corpus, llama, tmp_path):
    """Every adapter has its own head, which has moved; store and coder score with it."""
    options = {"asking": "head", "learning_rate": 0.01, "gradient_accumulation_steps": 2}
    options |= {"gradient_checkpointing": True}
    out = finetune(parse_options(flags(corpus, llama, tmp_path / "tuned", **options)))
    concepts = ConceptSet.load(out / CONCEPTS)
    found = {}
    for name in (ADAPTER, "fold-0", "fold-1"):
        assert {path.name for path in (out / name).iterdir()} == {*ADAPTER_FILES, CONCEPT_HEAD}
        assert not any("head" in key for key in load_file(out / name / "adapter_model.safetensors"))
        found[name] = ConceptHead.load(out / name)
        assert found[name].keys == tuple(concept.key for concept in concepts.concepts)
    for name in ("queries", "outputs", "bias", "key_weight", "value_weight"):
        assert not torch.allclose(getattr(found["fold-0"], name), getattr(found["fold-1"], name), atol=1e-4)

    notes = [coded.note for coded in learned(corpus)]
    score_corpus(notes, out, tmp_path / "scores")
    scores = load_scores(tmp_path / "scores")
    coder = fit_coder(tmp_path / "scores", learned(corpus), "train")
    coder.save_pretrained(tmp_path / "coder")
    again = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert ConceptHead.load(tmp_path / "coder" / "adapter").keys == found[ADAPTER].keys
    by_coder = again.scorer.score(notes[:3], concepts).logits
    by_adapter = PackedScorer.from_pretrained(llama, out / ADAPTER)
    np.testing.assert_allclose(by_coder, by_adapter.score(notes[:3], concepts).logits, atol=1e-4)
    assert len(again.code(notes[0]).codes) == len(concepts.codes)
    fold = json.loads((out / "folds.json").read_text())[notes[0].note_id]
    blind = PackedScorer.from_pretrained(llama, out / fold)
    kept = scores.select([notes[0].note_id]).logits
    np.testing.assert_allclose(blind.score(notes[:1], concepts).logits, kept, atol=1e-4)


def test_a_head_starts_from_the_titles_as_the_warmed_up_model_reads_them(corpus, llama, llama_adapter, tmp_path):
    options = {"asking": "head", "folds": 0, "max_steps": 1, "learning_rate": 0.0, "start_from": llama_adapter}
    out = finetune(parse_options(flags(corpus, llama, tmp_path / "tuned", **options)))
    found, concepts = ConceptHead.load(out / ADAPTER), ConceptSet.load(out / CONCEPTS).concepts
    loaded = load_model(llama, llama_adapter, merge=False)
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)
    titles = [tokens.encode_note(Note(concept.key, concept.text), 1).ids for concept in concepts]
    true = sum(ConceptSet.load(out / CONCEPTS).weak_labels(note.codes) for note in learned(corpus))
    log_odds = np.log((true + 0.5) / (len(learned(corpus)) - true + 0.5))
    start = start_from_titles(loaded.model, titles, tokens.around, found.keys, log_odds)
    for name, value in start.state_dict().items():
        np.testing.assert_allclose(found.state_dict()[name], value, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_head(corpus, llama, tmp_path, capsys):
    options = {"folds": 0, "max_steps": -1, "num_train_epochs": 3, "asking": "head", "learning_rate": 0.01}
    options |= {"per_device_train_batch_size": 4}
    out, whole = tmp_path / "t", tmp_path / "whole"
    with process(flags(corpus, llama, out, **options)) as child:
        wait_for(child, out / "checkpoints" / ADAPTER / "checkpoint-6" / "trainer_state.json")
        child.send_signal(signal.SIGKILL)
    assert not (out / ADAPTER).exists()
    finetune(parse_options(flags(corpus, llama, out, **options)))
    assert "resuming from" in capsys.readouterr().err
    finetune(parse_options(flags(corpus, llama, whole, **options)))
    resumed, unbroken = (ConceptHead.load(run / ADAPTER).state_dict() for run in (out, whole))
    for name, value in unbroken.items():
        np.testing.assert_allclose(resumed[name], value, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_processes_learn_the_head_that_one_learns(corpus, llama, tmp_path):
    same = {"folds": 0, "negative_share": 1.0, "lora_dropout": 0.0, "train_sampling_strategy": "random"}
    same |= {"asking": "head"}
    launch = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "concept_icd.tuning")
    two = flags(corpus, llama, tmp_path / "two", **same, per_device_train_batch_size=2)
    with process(two, *launch) as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
    finetune(parse_options(flags(corpus, llama, tmp_path / "one", **same, per_device_train_batch_size=4)))
    both, one = (ConceptHead.load(tmp_path / run / ADAPTER).state_dict() for run in ("two", "one"))
    for name, value in one.items():
        np.testing.assert_allclose(both[name], value, rtol=0, atol=1e-5)
