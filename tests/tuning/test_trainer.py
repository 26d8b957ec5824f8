"""One packed sequence teaches exactly what its questions would teach as prompts of their own."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.packed_pass import packed_margins
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote, Concept, Note
from concept_icd.tuning.config import make_options
from concept_icd.tuning.examples import NO_ANSWER, PackedCollator, targets_of, training_rows
from concept_icd.tuning.trainer import ConceptTrainer, answer_loss

CODES = ("486", "599.0", "780.6")
CONCEPTS = ConceptSet(
    CODES,
    (
        Concept("chapter:460-519", "chapter", "diseases of the respiratory system", ("486",)),
        Concept("code:486", "code", "pneumonia", ("486",)),
        Concept("code:599.0", "code", "urinary tract infection", ("599.0",)),
        Concept("code:780.6", "code", "fever", ("780.6",)),
    ),
)
NOTES = [
    CodedNote(Note("a", "cough and fever for three days. pneumonia."), ("486", "780.6")),
    CodedNote(Note("b", "urinary tract infection"), ("599.0",)),
    CodedNote(Note("c", "normal renal ultrasound, no hydronephrosis, fever"), ("780.6",)),
]


def tokens_of(model: Path) -> tuple:
    loaded = load_model(model)
    return loaded, TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)


def collator_of(tokens: TokenizedPrompt, **shares: float) -> PackedCollator:
    return PackedCollator([tokens.encode_question(concept.text) for concept in CONCEPTS.concepts], 0, **shares)


def rows_of(tokens: TokenizedPrompt, notes: list[CodedNote] = NOTES) -> list[dict]:
    columns = training_rows(notes, CONCEPTS, tokens)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def plain_loss(model, tokens: TokenizedPrompt) -> torch.Tensor:
    """Mean over all (note, concept) prompts, each run alone."""
    losses = []
    for note in NOTES:
        for concept, target in zip(CONCEPTS.concepts, CONCEPTS.weak_labels(note.codes), strict=True):
            ids = (*tokens.encode_note(note.note, 40).ids, *tokens.encode_question(concept.text))
            logits = model(torch.tensor([ids])).logits[0, -1]
            margin = logits[tokens.yes_id] - logits[tokens.no_id]
            losses.append(binary_cross_entropy_with_logits(margin, torch.tensor(float(target))))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_loss_and_gradient_equal_those_of_plain_prompts(family, request):
    loaded, tokens = tokens_of(request.getfixturevalue(family))
    model = loaded.model
    plain = plain_loss(model, tokens)
    plain.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    batch = collator_of(tokens, negative_share=1.0)(rows_of(tokens))
    labels = batch.pop("labels")
    margins = packed_margins(model, batch, tokens.yes_id, tokens.no_id, labels.shape[1])
    packed = answer_loss(margins, labels) / (labels != NO_ANSWER).sum()
    packed.backward()

    assert packed.item() == pytest.approx(plain.item(), abs=1e-4)
    assert len(gradients) > 10
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-3, msg=name)


def test_dropout_leaves_out_tokens_of_the_note_alone(llama):
    _, tokens = tokens_of(llama)
    rows = rows_of(tokens)
    before, after = tokens.around
    torch.manual_seed(0)
    questions = [tokens.encode_question(concept.text) for concept in CONCEPTS.concepts]
    collator = PackedCollator(questions, 0, 1.0, 1.0, 0.5, tokens.around)
    lengths = set()
    for _ in range(20):
        for row in rows:
            whole, thinned = list(row["input_ids"]), list(collator._thinned(row["input_ids"]))
            assert thinned[:before] == whole[:before]
            assert thinned[len(thinned) - after :] == whole[len(whole) - after :]
            left = iter(whole)
            assert all(token in left for token in thinned)  # in the note's own order
            lengths.add(len(thinned) < len(whole))
        assert collator(rows)["labels"].shape[0] == len(rows)
    assert True in lengths
    assert list(PackedCollator([[1]], 0)._thinned([5, 6, 7])) == [5, 6, 7]
    with pytest.raises(InputError, match="note_dropout must lie in"):
        PackedCollator([[1]], 0, dropout=1.0)


def trainer_of(model: Path, out: Path, batch_size: int, accumulation: int, **options) -> ConceptTrainer:
    from datasets import Dataset
    from trl import get_peft_config

    _, training, lora = make_options(
        corpus="none",
        output_dir=str(out),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        learning_rate=0.1,
        lora_r=4,
        lora_dropout=0.0,
        save_strategy="no",
        train_sampling_strategy="sequential",
        optim="sgd",
        max_grad_norm=1e9,
        lr_scheduler_type="constant",
        **options,
    )
    loaded, tokens = tokens_of(model)
    collator = collator_of(tokens, negative_share=1.0)
    return ConceptTrainer(
        model=loaded.model,
        args=training,
        train_dataset=Dataset.from_dict(training_rows(NOTES, CONCEPTS, tokens)),
        data_collator=collator,
        processing_class=loaded.tokenizer,
        peft_config=get_peft_config(lora),
        yes_id=tokens.yes_id,
        no_id=tokens.no_id,
        offset=collator.sampling_offset,
    )


@pytest.mark.slow
def test_a_step_is_the_mean_over_its_questions_however_it_is_accumulated(llama, tmp_path):
    """SGD steps of one batch of three and of three of one move the weights alike, as does the plain gradient."""
    moved = {}
    for batch_size, accumulation in ((3, 1), (1, 3)):
        trainer = trainer_of(llama, tmp_path / str(batch_size), batch_size, accumulation)
        before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
        trainer.train()
        moved[batch_size] = {n: p.detach() - before[n] for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert any(delta.abs().max() > 1e-4 for delta in moved[1].values())
    for name, delta in moved[1].items():
        torch.testing.assert_close(delta, moved[3][name], atol=1e-5, rtol=1e-3)
    loaded, tokens = tokens_of(llama)
    logged = trainer.state.log_history[-1]["train_loss"]
    assert logged == pytest.approx(plain_loss(loaded.model, tokens).item(), abs=1e-4)


def test_padding_and_no_answer_do_not_reach_the_loss():
    margins = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    targets = torch.tensor([[NO_ANSWER, 1.0], [0.0, 0.5]])
    by_hand = 0.126928 + 1.313262 + (0.5 * 1.313262 + 0.5 * 0.313262)
    assert answer_loss(margins, targets).item() == pytest.approx(by_hand, abs=1e-5)


def test_all_positives_and_a_share_of_the_negatives_are_asked(llama):
    _, tokens = tokens_of(llama)
    collator = collator_of(tokens, negative_share=0.25)
    torch.manual_seed(0)
    answers = [collator(rows_of(tokens, NOTES[:1]))["labels"][0].tolist() for _ in range(400)]
    assert all(answer.count(1.0) == 3 for answer in answers)  # chapter, 486, 780.6
    negatives = sum(answer.count(0.0) for answer in answers)
    assert 70 < negatives < 130  # 400 draws x 1 negative x 0.25 = 100, s.d. 8.7


def test_the_sampling_offset_is_the_log_of_the_ratio(llama):
    _, tokens = tokens_of(llama)
    assert collator_of(tokens, positive_share=1.0, negative_share=0.1).sampling_offset == pytest.approx(2.302585)
    with pytest.raises(InputError, match="negative_share must lie in"):
        collator_of(tokens, negative_share=0.0)


def test_soft_targets_mix_gold_and_votes():
    note = CodedNote(NOTES[0].note, ("486",), (), {"A": ("486", "780.6"), "B": ("486",), "C": ("599.0",)})
    assert targets_of(note, CONCEPTS).tolist() == [1, 1, 0, 0]
    half = targets_of(note, CONCEPTS, 0.5).tolist()
    assert half == pytest.approx([0.5 + 0.5 * 2 / 3, 0.5 + 0.5 * 2 / 3, 0.5 / 3, 0.5 / 3])
    assert targets_of(NOTES[0], CONCEPTS, 0.5).tolist() == [1, 1, 0, 1]  # nobody voted
