"""Random models, notes and questions, of the sizes that a benchmark of speed asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from concept_icd.doctor.cost_model import ModelShape
from concept_icd.llm.base_model import LoadedModel
from concept_icd.llm.concept_head import ConceptHead
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.reference import HEAD_SIZE, TINY
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer

VOCABULARY = 32_000


def llama_shape(layers: int = 12, positions: int = 4096) -> ModelShape:
    """That of a Llama of about 100 M parameters beside its 32,000 words."""
    return ModelShape(layers, 768, 2048, 12, 12, 64, VOCABULARY, positions, False, "benchmarks/common.py")


def random_llama(layers: int, seed: int, positions: int = 4096) -> LoadedModel:
    """A random model of 12 (or `layers`) layers, float32, with the shipped tokenizer."""
    return random_model(llama_shape(layers, positions), seed)


def random_model(shape: ModelShape, seed: int, device: str = "cpu", dtype: Any = None) -> LoadedModel:
    """Random weights of this shape, made on the device, float32 or `dtype`; the shipped tokenizer."""
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
    dtype = dtype or torch.float32
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    return LoadedModel(model, transformers.AutoTokenizer.from_pretrained(TINY), shape.positions)


def random_head(width: int, keys: Sequence[str], rng: np.random.Generator) -> ConceptHead:
    """A head of random weights: what it costs does not depend on them."""
    size, count = min(HEAD_SIZE, width), len(keys)
    shapes = {"key_weight": (size, width), "key_bias": (size,), "value_weight": (size, width), "value_bias": (size,)}
    shapes |= {"queries": (count, size), "outputs": (count, size), "bias": (count,)}
    tensors = {name: torch.tensor(rng.normal(0, 0.3, shape), dtype=torch.float32) for name, shape in shapes.items()}
    return ConceptHead(keys, {"scale": torch.ones(()), **tensors})


def random_note(prompt: TokenizedPrompt, note_id: str, tokens: int, rng: np.random.Generator) -> Note:
    """A note of random words that are `tokens` tokens with the template around it."""
    tokenizer = prompt.tokenizer
    words = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    words = [word for word in words if word[:1] == " " and word[1:].isalpha() and word.isascii()]
    room = tokens - len(prompt.encode_note(Note(note_id, words[0]), 0).ids) + 1
    note = Note(note_id, "".join(rng.choice(words, room)))
    if len(prompt.encode_note(note, 0).ids) != tokens:
        raise ValueError(f"cannot make a note of {tokens} tokens")
    return note


def random_concepts(count: int, rng: np.random.Generator) -> list[Concept]:
    """Concepts of all levels of ICD-9-CM's diagnoses, in an order drawn by `rng`; fewer are the first of more."""
    ontology = load_ontology("icd9cm")
    concepts = ConceptSet.expand(ontology.codes("diagnosis")[::9], ontology).concepts
    return [concepts[row] for row in rng.permutation(len(concepts))[:count]]


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


def build_case(scorer: PackedScorer, note_tokens: int, questions: int, seed: int, notes: int = 1) -> Case:
    """Random words, and real titles of concepts in a random order: fewer concepts are the first of more."""
    rng = np.random.default_rng(seed)
    concepts = random_concepts(questions, rng)
    written = [random_note(scorer.tokens, str(number), note_tokens, rng) for number in range(notes)]
    ids = [list(scorer.tokens.encode_note(note, 0).ids) for note in written]
    return Case(scorer, written, concepts, ids, [scorer.tokens.encode_question(concept.text) for concept in concepts])


@torch.inference_mode()
def plain_forward(model: Any, tokens: int, rows: int = 1) -> None:
    """The floor: an ordinary causal forward pass over rows of random tokens, which keeps the last one's logits."""
    ids = torch.randint(model.config.vocab_size, (rows, tokens), device=model.device)
    model(ids, logits_to_keep=1, use_cache=False)
