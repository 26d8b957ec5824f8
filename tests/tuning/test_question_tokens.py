"""Learned question tokens: what they start from, that packing is exact with them too, and that they travel."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import binary_cross_entropy_with_logits

from concept_icd.artifacts import hash_of, sha256
from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.packed_pass import packed_margins
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.llm.question_embedding import add_question_tokens, learned_from, start_from_words
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.llm.reference import ADAPTER_FILES, QUESTION_TOKENS, ModelReference
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.pipeline import fit_coder
from concept_icd.records import Concept, Note
from concept_icd.scoring.adapters import score_corpus
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.specs import ADAPTER, CONCEPTS
from concept_icd.scoring.store import load_scores
from concept_icd.tuning.config import make_options, parse_options
from concept_icd.tuning.examples import NO_ANSWER, PackedCollator
from concept_icd.tuning.finetune import finetune
from concept_icd.tuning.trainer import answer_loss
from tests.tuning.runs import flags, learned, process, wait_for
from tests.tuning.test_trainer import CONCEPTS as FOUR
from tests.tuning.test_trainer import NOTES, rows_of

NAMES = [concept.key for concept in FOUR.concepts]


def random_tokens(size: int, hidden: int = 128) -> QuestionTokens:
    values = np.random.default_rng(0).normal(0, 0.3, (len(NAMES), size, hidden)).astype(np.float32)
    return QuestionTokens(tuple(NAMES), values)


@pytest.fixture(params=["llama", "qwen3"])
def adapted(request, tmp_path) -> tuple[Path, Path, QuestionTokens]:
    """A model, an adapter on it with two random question tokens a concept, and these."""
    folder = tmp_path / "adapter"
    shutil.copytree(request.getfixturevalue(f"{request.param}_adapter"), folder)
    tokens = random_tokens(2)
    tokens.save(folder)
    return request.getfixturevalue(request.param), folder, tokens


def test_a_token_starts_as_the_mean_of_its_group_of_words():
    words = torch.nn.Embedding(10, 4)
    weight = words.weight.detach()
    start, unit = start_from_words(words, [[3], [1, 2, 3, 4, 5], [6, 7]], ["a", "b", "c"], 1)
    assert torch.equal(torch.tensor(start.values[0, 0]), weight[3])  # one word: exactly its embedding
    np.testing.assert_allclose(start.values[1, 0], weight[1:6].mean(0), atol=1e-6)
    means = [weight[[3]], weight[1:6], weight[6:8]]
    assert unit == pytest.approx(float(torch.stack([part.square().mean() for part in means]).mean().sqrt()))

    two, _ = start_from_words(words, [[3], [1, 2, 3, 4, 5], [6, 7]], ["a", "b", "c"], 2)
    by_hand = [[weight[3], weight[3]], [weight[1:3].mean(0), weight[3:6].mean(0)], [weight[6], weight[7]]]
    np.testing.assert_allclose(two.values, torch.stack([torch.stack(rows) for rows in by_hand]), atol=1e-6)
    assert start_from_words(words, [[6, 7]], ["c"], 4)[0].values.shape == (1, 4, 4)


def test_the_file_gives_back_what_was_saved(tmp_path):
    tokens = random_tokens(3)
    assert QuestionTokens.load(tmp_path) is None
    tokens.save(tmp_path)
    found = QuestionTokens.load(tmp_path)
    assert found is not None
    assert found.keys == tokens.keys
    assert np.array_equal(found.values, tokens.values)
    assert found.ids(400)["code:486"] == (403, 404, 405)
    whole = (tmp_path / QUESTION_TOKENS).read_bytes()
    for damaged in (
        whole[:-10],
        b"",
        whole.replace(b'"keys"', b'"kexs"', 1),
        whole.replace(NAMES[2].encode(), NAMES[3].encode()),  # a concept twice
    ):
        (tmp_path / QUESTION_TOKENS).write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged: tune the adapter again"):
            QuestionTokens.load(tmp_path)


@pytest.mark.parametrize("merge", [True, False])
def test_packed_scores_equal_plain_prompts_of_words_and_vectors(adapted, merge):
    """The plain way needs no ids beyond the vocabulary: the note's embeddings, then the learned vectors."""
    model, adapter, tokens = adapted
    prompt = PromptTemplate.load("concept-title")
    scorer = PackedScorer.from_pretrained(model, adapter, prompt, merge=merge, chunk_tokens=5)
    found = scorer.score([coded.note for coded in NOTES], FOUR).logits

    shutil.copytree(adapter, adapter.with_name("in-words"), ignore=lambda *_: [QUESTION_TOKENS])
    plain = load_model(model, adapter.with_name("in-words"), merge=merge)
    reader = TokenizedPrompt(prompt, plain.tokenizer, plain.max_length)
    words = plain.model.get_input_embeddings()
    for row, coded in enumerate(NOTES):
        note = words(torch.tensor(reader.encode_note(coded.note, 2).ids))
        for column in range(len(NAMES)):
            vectors = torch.cat([note, torch.tensor(tokens.values[column])])[None]
            with torch.no_grad():
                logits = plain.model(inputs_embeds=vectors).logits[0, -1]
            assert found[row, column] == pytest.approx(float(logits[reader.yes_id] - logits[reader.no_id]), abs=1e-4)
    assert np.ptp(found) > 0.5  # the scores do differ


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_gradient_of_a_packed_batch_is_that_of_separate_prompts(family, request):
    unit = 0.5
    loaded = load_model(request.getfixturevalue(family))
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)
    loaded.model.requires_grad_(False)  # as LoRA leaves it
    embedding = add_question_tokens(loaded.model, random_tokens(3), unit)
    tokens.learned = random_tokens(3).ids(embedding.first)
    assert [name for name, p in loaded.model.named_parameters() if p.requires_grad] == [
        "model.embed_tokens.learned_questions"
    ]

    losses = []
    for coded in NOTES:
        for concept, target in zip(FOUR.concepts, FOUR.weak_labels(coded.codes), strict=True):
            ids = (*tokens.encode_note(coded.note, 3).ids, *tokens.encode_concept(concept))
            logits = loaded.model(torch.tensor([ids])).logits[0, -1]
            margin = logits[tokens.yes_id] - logits[tokens.no_id]
            losses.append(binary_cross_entropy_with_logits(margin, torch.tensor(float(target))))
    torch.stack(losses).mean().backward()
    plain, embedding.learned_questions.grad = embedding.learned_questions.grad, None

    collator = PackedCollator([tokens.encode_concept(concept) for concept in FOUR.concepts], 0, negative_share=1.0)
    batch = collator(rows_of(tokens))
    labels = batch.pop("labels")
    margins = packed_margins(loaded.model, batch, tokens.yes_id, tokens.no_id, labels.shape[1])
    (answer_loss(margins, labels) / (labels != NO_ANSWER).sum()).backward()
    assert plain.abs().max() > 1e-4
    torch.testing.assert_close(embedding.learned_questions.grad, plain, atol=2e-5, rtol=1e-3)


def test_a_tied_head_keeps_the_base_weight():
    model = load_model("tiny").model
    words = model.get_input_embeddings()
    tokens = random_tokens(1)
    embedding = add_question_tokens(model, tokens, unit=0.5)
    assert model.get_output_embeddings().weight is words.weight
    found = embedding(torch.tensor([[5, embedding.first + 1, 6]]))[0]
    assert torch.equal(found[[0, 2]], words(torch.tensor([5, 6])))
    assert torch.equal(found[1], torch.tensor(tokens.values[1, 0]))
    assert np.array_equal(learned_from(model.state_dict(), NAMES, 0.5).values, tokens.values)


def test_another_concept_set_or_base_is_one_sentence(adapted, tmp_path):
    model, adapter, _ = adapted
    scorer = PackedScorer.from_pretrained(model, adapter)
    other = ConceptSet(("250.00",), (Concept("code:250.00", "code", "diabetes", ("250.00",)),))
    with pytest.raises(InputError, match=r"has learned no question about the concept 'code:250\.00': ask the concept"):
        scorer.score([Note("a", "cough")], other)
    random_tokens(2, hidden=64).save(adapter)
    with pytest.raises(InputError, match=r"have 64 dimensions, the base model 128: name the base model"):
        load_model(model, adapter)


def test_the_hash_of_an_adapter_counts_the_tokens_where_there_are_any(adapted):
    model, adapter, _ = adapted
    with_tokens = ModelReference.of(model, adapter)
    random_tokens(1).save(adapter)
    with pytest.raises(InputError, match="damaged or exchanged"):
        with_tokens.check()
    (adapter / QUESTION_TOKENS).unlink()
    with pytest.raises(InputError, match="damaged or exchanged"):
        with_tokens.check()
    # Adapters without tokens keep the hash that coders of earlier versions hold.
    in_words = hash_of([sha256(adapter / name) for name in ADAPTER_FILES])
    assert ModelReference.of(model, adapter).adapter_sha256 == in_words


def test_too_few_tokens_are_refused():
    with pytest.raises(InputError, match=r"question_tokens must be at least 1 \(left out: words\), it is 0"):
        make_options(corpus="c", output_dir="o", question_tokens=0)


def test_from_tuning_to_a_coder_that_is_loaded_again(corpus, llama, tmp_path):
    """Every adapter has its own tokens, which have moved; store and coder score with them."""
    options = {"question_tokens": 2, "prompt": "concept-title", "learning_rate": 0.01}
    out = finetune(parse_options(flags(corpus, llama, tmp_path / "tuned", **options)))
    concepts = ConceptSet.load(out / CONCEPTS)
    found = {}
    for name in (ADAPTER, "fold-0", "fold-1"):
        assert {path.name for path in (out / name).iterdir()} == {*ADAPTER_FILES, QUESTION_TOKENS}
        assert not any("question" in key for key in load_file(out / name / "adapter_model.safetensors"))
        found[name] = QuestionTokens.load(out / name)
        assert found[name].keys == tuple(concept.key for concept in concepts.concepts)
    assert not np.allclose(found["fold-0"].values, found["fold-1"].values, atol=1e-4)
    base = load_model(llama)
    title = TokenizedPrompt(PromptTemplate.load("concept-title"), base.tokenizer, base.max_length)
    asked = [title.encode_question(concept.text) for concept in concepts.concepts]
    start, unit = start_from_words(base.model.get_input_embeddings(), asked, found[ADAPTER].keys, 2)
    moved = np.abs(found[ADAPTER].values - start.values)
    assert 1e-4 < moved.max() <= 2 * 0.01 * unit + 1e-6  # two steps of Adam, measured in units

    notes = [coded.note for coded in learned(corpus)]
    score_corpus(notes, out, tmp_path / "scores")
    scores = load_scores(tmp_path / "scores")
    coder = fit_coder(tmp_path / "scores", learned(corpus), "train")
    coder.save_pretrained(tmp_path / "coder")
    again = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert QuestionTokens.load(tmp_path / "coder" / "adapter").keys == found[ADAPTER].keys
    by_coder = again.scorer.score(notes[:3], concepts).logits
    by_adapter = PackedScorer.from_pretrained(llama, out / ADAPTER, PromptTemplate.load("concept-title"))
    np.testing.assert_allclose(by_coder, by_adapter.score(notes[:3], concepts).logits, atol=1e-4)
    assert len(again.code(notes[0]).codes) == len(concepts.codes)
    fold = json.loads((out / "folds.json").read_text())[notes[0].note_id]
    blind = PackedScorer.from_pretrained(llama, out / fold, PromptTemplate.load("concept-title"))
    kept = scores.select([notes[0].note_id]).logits
    np.testing.assert_allclose(blind.score(notes[:1], concepts).logits, kept, atol=1e-4)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_tokens(corpus, llama, tmp_path, capsys):
    options = {"folds": 0, "max_steps": -1, "num_train_epochs": 3, "question_tokens": 2, "learning_rate": 0.01}
    options |= {"per_device_train_batch_size": 4}
    out, whole = tmp_path / "t", tmp_path / "whole"
    with process(flags(corpus, llama, out, **options)) as child:
        wait_for(child, out / "checkpoints" / ADAPTER / "checkpoint-6" / "trainer_state.json")
        child.send_signal(signal.SIGKILL)
    assert not (out / ADAPTER).exists()
    finetune(parse_options(flags(corpus, llama, out, **options)))
    assert "resuming from" in capsys.readouterr().err
    finetune(parse_options(flags(corpus, llama, whole, **options)))
    resumed, unbroken = QuestionTokens.load(out / ADAPTER), QuestionTokens.load(whole / ADAPTER)
    np.testing.assert_allclose(resumed.values, unbroken.values, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_processes_learn_the_tokens_that_one_learns(corpus, llama, tmp_path):
    same = {"folds": 0, "negative_share": 1.0, "lora_dropout": 0.0, "train_sampling_strategy": "random"}
    same |= {"question_tokens": 1}
    launch = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "concept_icd.tuning")
    two = flags(corpus, llama, tmp_path / "two", **same, per_device_train_batch_size=2)
    with process(two, *launch) as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
    finetune(parse_options(flags(corpus, llama, tmp_path / "one", **same, per_device_train_batch_size=4)))
    both, one = (QuestionTokens.load(tmp_path / run / ADAPTER) for run in ("two", "one"))
    np.testing.assert_allclose(both.values, one.values, rtol=0, atol=2e-6)
