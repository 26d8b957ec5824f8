r"""A concept head: all concepts are asked in one reading of the note, without a token of a question.

    k_t = A (h_t / s) + a,   v_t = C (h_t / s) + c                for every token t of the note, from (d,) to (e,)
    w_lt = softmax over t of q_l . k_t / sqrt(e)
    margin_l = o_l . (sum over t of w_lt v_t) / sqrt(e) + b_l     for every concept l

with h_t the last hidden states of the (LoRA-tuned) causal model and s their scale. It is the label attention of LAAT
(Vu et al., 2020, "A label attention model for ICD coding from clinical text") and PLM-ICD (Huang et al., 2022), with
three differences. Keys and values are linear maps to e << d numbers, without tanh, so that 18,000 concepts cost about
a tenth of reading the note with a model of 100 M parameters. The model below is a causal LM that reads the whole
note at once. And q_l and o_l start from the concept's title as the model itself reads it, b_l from how often it is
true, so that a concept without an example is more than noise. The concepts of all levels are asked, as with questions.

All of it is float32. A file beside the adapter that it was trained with holds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from concept_icd.artifacts import loads, require_finite
from concept_icd.errors import InputError
from concept_icd.llm.reference import CONCEPT_HEAD, HEAD_SIZE

#: Padded tokens of titles in one pass.
_BATCH = 8192
#: Shares of the mean variance that every direction is taken to have, when titles are too few to tell.
_RIDGE = 0.1
_TENSORS = ("scale", "key_weight", "key_bias", "value_weight", "value_bias", "queries", "outputs", "bias")


class ConceptHead(nn.Module):
    """The formulas above for a concept set.

    Args:
        keys: of the L concepts.
        tensors: `scale` (), `key_weight` and `value_weight` (e, d), `key_bias` and `value_bias` (e,), `queries` and
            `outputs` (L, e), `bias` (L,), all float32.
    """

    scale: torch.Tensor

    def __init__(self, keys: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.keys = tuple(keys)
        self.register_buffer("scale", tensors["scale"])
        self.key_weight, self.key_bias = nn.Parameter(tensors["key_weight"]), nn.Parameter(tensors["key_bias"])
        self.value_weight, self.value_bias = nn.Parameter(tensors["value_weight"]), nn.Parameter(tensors["value_bias"])
        self.queries, self.outputs = nn.Parameter(tensors["queries"]), nn.Parameter(tensors["outputs"])
        self.bias = nn.Parameter(tensors["bias"])

    @classmethod
    def load(cls, folder: str | Path) -> ConceptHead | None:
        """That of an adapter folder; None where its adapter asks questions.

        Raises:
            InputError: the file is damaged.
        """
        path = Path(folder) / CONCEPT_HEAD
        if not path.is_file():
            return None
        damaged = InputError(f"{path} is damaged: tune the adapter again")
        try:
            with safe_open(path, framework="pt") as content:
                keys = tuple(loads(content.metadata()["keys"]))
                tensors = {name: content.get_tensor(name) for name in _TENSORS}
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise damaged from error
        size, width = tensors["key_weight"].shape[0], tensors["key_weight"].shape[-1]
        shapes = {"scale": (), "bias": (len(keys),), "key_bias": (size,), "value_bias": (size,)}
        shapes |= dict.fromkeys(("key_weight", "value_weight"), (size, width))
        shapes |= dict.fromkeys(("queries", "outputs"), (len(keys), size))
        found = {name: value for name, value in tensors.items() if value.dtype == torch.float32}
        sound = all(name in found and value.shape == shapes[name] for name, value in tensors.items())
        if not sound or len(set(keys)) < len(keys):
            raise damaged
        require_finite(path, {name: value.numpy() for name, value in tensors.items()})
        return cls(keys, tensors)

    def save(self, folder: str | Path) -> None:
        """Writes the file into a folder."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, Path(folder) / CONCEPT_HEAD, metadata={"keys": json.dumps(self.keys)})

    @property
    def rows(self) -> dict[str, tuple[int, ...]]:
        """Key of a concept -> its row: what stands for a question's tokens where the head is asked."""
        return {key: (row,) for row, key in enumerate(self.keys)}

    def read(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, (B, T, e) each, of last hidden states (B, T, d), once for all concepts."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.float() / self.scale
            keys = linear(states, self.key_weight, self.key_bias)
            return keys, linear(states, self.value_weight, self.value_bias)

    def margins(
        self, keys: torch.Tensor, values: torch.Tensor, concepts: torch.Tensor, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, K) margins.

        Args:
            keys, values: of `read`. concepts: (B, K) rows of concepts. seen: bool (B, T), the tokens that count; None:
                all of them.
        """
        with torch.autocast(keys.device.type, enabled=False):
            queries, outputs = embedding(concepts, self.queries), embedding(concepts, self.outputs)
            mask = None if seen is None else seen[:, None, None, :]
            # One head of attention. The kernel keeps no (K, T) weights, neither now nor for the gradients.
            found = scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], attn_mask=mask)[:, 0]
            margins = (found * outputs).sum(-1) / outputs.shape[-1] ** 0.5
            return margins + embedding(concepts, self.bias[:, None])[..., 0]

    def forward(self, states: torch.Tensor, concepts: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Margins (B, K) from last hidden states (B, T, d); see `margins`."""
        return self.margins(*self.read(states), concepts, seen)


def add_concept_head(model: Any, head: ConceptHead) -> None:
    """Puts the head beside the LM head, in place, so that `model(..., concepts=...)` answers by it.

    LoRA must be on the model already, or merged: it freezes whatever it finds.

    Raises:
        InputError: the model has another hidden size.
    """
    words = model.get_input_embeddings()
    if head.key_weight.shape[1] != (width := model.get_output_embeddings().weight.shape[1]):
        raise InputError(
            f"the concept head reads {head.key_weight.shape[1]} dimensions, the base model has {width}: name the base "
            "model that it was tuned with"
        )
    base_of(model).concept_head = head.to(words.weight.device)


def base_of(model: Any) -> Any:
    """The causal LM itself, where PEFT has wrapped it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def read_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Last hidden states (B, T, d) of token ids (B, T), padded on the right, which needs no mask in a causal model."""
    states: torch.Tensor = base_of(model).get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return states


def learned_head(weights: Mapping[str, torch.Tensor], keys: Sequence[str]) -> ConceptHead:
    """The head among a model's gathered weights by name."""
    mark = "concept_head."
    own = {name.split(mark)[1]: value.detach().float().cpu() for name, value in weights.items() if mark in name}
    return ConceptHead(keys, own)


@torch.no_grad()
def start_from_titles(
    model: Any,
    titles: Sequence[Sequence[int]],
    around: tuple[int, int],
    keys: Sequence[str],
    log_odds: np.ndarray,
) -> ConceptHead:
    """A head to begin training with, from the concepts' titles, which the model reads as if each were a note.

    Keys and values are the title tokens' principal directions, whitened. A concept's query and output are the mean of
    its title's whitened states. So at the start a concept looks at what reads like its title, and is the likelier the
    more it finds of it.

    Args:
        titles: token ids of the concepts' titles in the prompt of a note. around: tokens before and after each title.
        log_odds: (concepts,), how often each concept is true, for the bias.
    """
    width = model.get_output_embeddings().weight.shape[1]
    order = sorted(range(len(titles)), key=lambda row: len(titles[row]), reverse=True)
    means = torch.zeros((len(titles), width), dtype=torch.float64)
    total, second, count = torch.zeros_like(means[0]), means.new_zeros((width, width)), 0
    while order:
        longest = len(titles[order[0]])
        batch = order[: max(1, _BATCH // longest)]
        del order[: len(batch)]
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        for line, row in enumerate(batch):
            ids[line, : len(titles[row])] = torch.tensor(titles[row])
        for states, row in zip(read_states(model, ids.to(base_of(model).device)).double().cpu(), batch, strict=True):
            own = states[around[0] : len(titles[row]) - around[1]]
            means[row], count = own.mean(0), count + len(own)
            total, second = total + own.sum(0), second + own.T @ own
    mean = total / count
    spread, directions = torch.linalg.eigh(second / count - mean[:, None] * mean)  # ascending
    size = min(HEAD_SIZE, width)
    spread, directions = spread[-size:].clamp(min=0), directions[:, -size:]
    scale = (second.trace() / count / width).sqrt()
    whiten = (directions / (spread + _RIDGE * spread.mean()).sqrt()).T
    vectors = (means - mean) @ whiten.T
    maps = {"weight": whiten * scale, "bias": -(whiten @ mean)}
    tensors = {f"{kind}_{name}": value.clone() for kind in ("key", "value") for name, value in maps.items()}
    tensors |= {"scale": scale, "queries": vectors, "outputs": vectors.clone(), "bias": torch.tensor(log_odds)}
    return ConceptHead(keys, {name: value.float() for name, value in tensors.items()})
