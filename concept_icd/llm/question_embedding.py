"""The input embedding of a model that has learned question tokens (`concept_icd.llm.question_tokens`).

Ids beyond the vocabulary are looked up among the learned vectors. Packing, scoring and training see ids alone; the
LM head, tied or not, keeps the base model's weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from concept_icd.errors import InputError
from concept_icd.llm.question_tokens import QuestionTokens


class QuestionEmbedding(nn.Module):
    """A base embedding and learned vectors behind it.

    Args:
        words: the base model's embedding of V ids. values: (rows, H), the vectors of the ids from V on.
        unit: the learned parameter is values / unit. An optimiser's step is then a share of `unit`, so that one
            learning rate serves bases whose embeddings differ in scale. It changes nothing where none is learned.
    """

    def __init__(self, words: Any, values: torch.Tensor, unit: float = 1.0) -> None:
        super().__init__()
        self.words, self.first, self.unit = words, int(words.num_embeddings), unit
        self.learned_questions = nn.Parameter(values / unit)

    @property
    def weight(self) -> torch.Tensor:
        """The base embedding's, by the name under which a tied LM head, and who shards the model, look for it."""
        weight: torch.Tensor = self.words.weight
        return weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(..., ids) -> (..., ids, H) in the dtype of the base embedding."""
        learned = ids >= self.first
        words: torch.Tensor = self.words(ids.masked_fill(learned, 0))
        rows = (ids - self.first).clamp(min=0)
        questions = nn.functional.embedding(rows, self.learned_questions) * self.unit
        return torch.where(learned[..., None], questions.to(words.dtype), words)


def add_question_tokens(model: Any, tokens: QuestionTokens, unit: float = 1.0) -> QuestionEmbedding:
    """Puts the tokens behind the model's input embedding, in place.

    LoRA must be on the model already: it freezes whatever it finds.

    Raises:
        InputError: the model has another hidden size.
    """
    words = model.get_input_embeddings()
    if tokens.values.shape[2] != words.embedding_dim:
        raise InputError(
            f"the learned question tokens have {tokens.values.shape[2]} dimensions, the base model "
            f"{words.embedding_dim}: name the base model that they were tuned with"
        )
    values = torch.tensor(tokens.values.reshape(-1, words.embedding_dim), device=words.weight.device)
    embedding = QuestionEmbedding(words, values, unit)
    model.set_input_embeddings(embedding)
    return embedding


@torch.no_grad()
def start_from_words(
    words: Any, questions: Sequence[Sequence[int]], keys: Sequence[str], size: int
) -> tuple[QuestionTokens, float]:
    """Question tokens to begin training with, and the root mean square of the words' embeddings, a unit for steps.

    A question of n tokens is cut into `size` consecutive groups, each of at least one token (a shorter one says a
    token twice); a learned token starts as the mean of its group's embeddings.

    Args:
        words: the base embedding. questions: token ids of the concepts' questions in words; with the template
            `concept-title` these are the titles.
    """
    device = words.weight.device
    rows, squares = [], []
    for ids in questions:
        vectors = words(torch.tensor(ids, device=device)).float()
        starts = [group * len(ids) // size for group in range(size)]
        ends = [max(start + 1, (group + 1) * len(ids) // size) for group, start in enumerate(starts)]
        rows.append(torch.stack([vectors[start:end].mean(0) for start, end in zip(starts, ends, strict=True)]))
        squares.append(vectors.square().mean())
    return QuestionTokens(tuple(keys), torch.stack(rows).cpu().numpy()), float(torch.stack(squares).mean().sqrt())


def learned_from(weights: Mapping[str, torch.Tensor], keys: Sequence[str], unit: float) -> QuestionTokens:
    """The question tokens among a model's weights by name, as `QuestionEmbedding` holds them."""
    rows = next(rows for name, rows in weights.items() if name.endswith(".learned_questions"))
    values = rows.detach().float().cpu() * unit
    return QuestionTokens(tuple(keys), values.reshape(len(keys), -1, values.shape[1]).numpy())
