"""What gpu.py times: packed scoring and tuning, and one prompt a question, on a model of random weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from common import random_concepts, random_note
from torch.nn.functional import binary_cross_entropy_with_logits

from concept_icd.doctor.cost_model import ModelShape
from concept_icd.llm.base_model import LoadedModel
from concept_icd.llm.packed_pass import packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.reference import TINY
from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer


@dataclass
class Case:
    """Notes of one length and the questions to each, as token ids and as records."""

    scorer: PackedScorer
    notes: list[Note]
    concepts: Sequence[Concept]
    ids: list[list[int]]
    questions: list[list[int]]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of a note and one question after another."""
        return len(self.ids[0]) + sum(map(len, self.questions))


def build_model(shape: ModelShape, device: torch.device, dtype: torch.dtype, seed: int) -> LoadedModel:
    """Random weights, made on the device; the shipped tokenizer."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=shape.tied,
    )
    with device:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    return LoadedModel(model, transformers.AutoTokenizer.from_pretrained(TINY), shape.positions)


def build_case(loaded: LoadedModel, note_tokens: int, notes: int, questions: int, seed: int) -> Case:
    scorer = PackedScorer(loaded, PromptTemplate.load())
    rng = np.random.default_rng(seed)
    concepts = random_concepts(questions, rng)
    written = [random_note(scorer.tokens, str(number), note_tokens, rng) for number in range(notes)]
    ids = [list(scorer.tokens.encode_note(note, 0).ids) for note in written]
    return Case(scorer, written, concepts, ids, [scorer.tokens.encode_question(concept.text) for concept in concepts])


def score_packed(case: Case, packing: tuple[int, int]) -> dict[str, np.ndarray]:
    """Scores of all notes, by id."""
    case.scorer.chunk_tokens, case.scorer.batch_tokens = packing
    return {scores.note_id: scores.logits for scores in case.scorer.iter_scores(case.notes, case.concepts)}


@torch.inference_mode()
def score_plain(case: Case, prompts: int) -> torch.Tensor:
    """Scores of the first note's first questions, one prompt each, in one batch."""
    return plain_margins(case.scorer.model, case, prompts)


@torch.inference_mode()
def plain_forward(case: Case, rows: int) -> None:
    """A causal forward pass over as many tokens as `rows` notes and their questions have."""
    model = case.scorer.model
    ids = torch.randint(model.config.vocab_size, (rows, case.prompt_tokens), device=model.device)
    model(ids, logits_to_keep=1, use_cache=False)


def plain_margins(model: Any, case: Case, prompts: int) -> torch.Tensor:
    """logit(yes) - logit(no) at the ends of right-padded prompts; causal, so no mask is needed."""
    asked = [torch.tensor([*case.ids[0], *question]) for question in case.questions[:prompts]]
    ids = torch.nn.utils.rnn.pad_sequence(asked, batch_first=True).to(model.device)
    ends = torch.tensor([len(prompt) - 1 for prompt in asked], device=model.device)
    decoder = getattr(model, "get_base_model", lambda: model)().get_decoder()
    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[torch.arange(len(asked), device=model.device), ends]).float()
    return logits[:, case.scorer.tokens.yes_id] - logits[:, case.scorer.tokens.no_id]


def packed_step(model: Any, case: Case, rows: int, batch: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """Forward and backward over `rows` notes with all questions, as `ConceptTrainer` does it."""
    batch = batch or packed_batch(model, case, rows)
    model.zero_grad()
    with autocast(model):
        yes, no = case.scorer.tokens.yes_id, case.scorer.tokens.no_id
        margins = packed_margins(model, batch, yes, no, len(case.questions))
    loss = binary_cross_entropy_with_logits(margins.float(), answers(case, model).expand(rows, -1))
    loss.backward()
    return loss.detach()


def packed_batch(model: Any, case: Case, rows: int) -> dict[str, torch.Tensor]:
    """The batch as the collator makes it on the CPU, carried to the device."""
    batch = pack_batch(case.ids[:rows], [case.questions] * rows, padding_id=0)
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def plain_step(model: Any, case: Case, prompts: int) -> torch.Tensor:
    """Forward and backward over one batch of prompts of the first note."""
    model.zero_grad()
    with autocast(model):
        margins = plain_margins(model, case, prompts)
    loss = binary_cross_entropy_with_logits(margins, answers(case, model)[:prompts])
    loss.backward()
    return loss.detach()


def answers(case: Case, model: Any) -> torch.Tensor:
    """Every other answer is yes."""
    return (torch.arange(len(case.questions), device=model.device) % 2).float()


def autocast(model: Any) -> Any:
    """What accelerate does under `bf16: true`; nothing in float32."""
    return torch.autocast(model.device.type, model.dtype) if model.dtype == torch.bfloat16 else nullcontext()
