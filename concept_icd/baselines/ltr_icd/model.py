"""The network: an encoder over segments, label attention for the probabilities, a T5 decoder for the order.

A long note is cut into segments of one length, each is encoded alone, and the states follow each other again: the
encoder's cost grows with the note's length, not with its square, and a segment sees only itself. The network knows
tokens and columns, nothing of notes, codes' meaning or files other than its own two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear, logsigmoid, pad

from concept_icd.artifacts import require_finite, write_json
from concept_icd.baselines.ltr_icd.config import LtrIcdConfig
from concept_icd.baselines.ltr_icd.decoding import FIRST_CODE, START, Grammar, generate
from concept_icd.baselines.ltr_icd.label_attention import LabelAttention
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold

CONFIG, WEIGHTS = "config.json", "model.safetensors"
#: In targets, where there is no token.
NO_TOKEN = -100


class LtrIcd(nn.Module):
    """LTR-ICD as we read it; the classifier alone, PLM-ICD's form, where `config.options.ranking` is False.

    Args:
        encoder: a Hugging Face encoder. decoder: a T5 decoder stack, or None without ranking.
    """

    def __init__(self, config: LtrIcdConfig, encoder: Any, decoder: Any = None) -> None:
        super().__init__()
        self.settings = config
        self.grammar = Grammar(len(config.diagnoses), len(config.codes))
        self.encoder, self.decoder = encoder, decoder
        width, options = encoder.config.hidden_size, config.options
        if options.ranking:
            # The decoder reads and writes codes alone: one token each, none for words. Their embeddings serve both
            # ways, as in T5 1.0.
            decoder.embed_tokens = nn.Embedding(self.grammar.tokens, width)
        kinds = (config.diagnoses, config.procedures) if options.ranking else (config.codes,)
        self.attention = nn.ModuleList(
            LabelAttention(width, len(labels), options.channels, options.kernel_size) for labels in kinds if labels
        )
        self.dropout = nn.Dropout(options.dropout)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
        sequence: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Logits of the labels, float32 (notes, codes), and with targets the loss, a mean over notes.

        loss = sum over labels (their mean where the options say so) of the binary cross-entropy + generation_weight x
        sum over tokens of the cross-entropy, the latter among the tokens that the grammar allows, as in decoding.

        Args:
            input_ids, attention_mask: (notes, tokens), padded on the right.
            labels: 0/1 (notes, codes). sequence: the decoder's tokens (notes, longest), `NO_TOKEN` behind the end.
        """
        hidden, mask = self.encode(input_ids, attention_mask)
        logits = self.classify(hidden, mask)
        if labels is None:
            return {"logits": logits}
        loss = binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
        if self.settings.options.loss == "mean":
            loss = loss / logits.shape[1]
        if self.decoder is not None and sequence is not None:
            read = sequence.masked_fill(sequence == NO_TOKEN, START).roll(1, dims=1)
            read[:, 0] = START
            written = self._write(read, hidden, mask, logits.detach()).float()
            written = written.masked_fill(~self.grammar.allowed(read), -torch.inf)
            summed = cross_entropy(written.flatten(0, 1), sequence.flatten(), ignore_index=NO_TOKEN, reduction="sum")
            loss = loss + self.settings.options.generation_weight * summed
        return {"loss": loss / len(logits), "logits": logits}

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """H, (notes, N, width), and its mask; see `encode_segments`."""
        options = self.settings.options
        return encode_segments(
            self.encoder, input_ids, attention_mask, options.segment_tokens, keep_padding=options.padding_attends
        )

    def classify(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits, (notes, codes), diagnoses first."""
        hidden = self.dropout(hidden)
        return torch.cat([attention(hidden, mask) for attention in self.attention], dim=1)

    def generate(
        self, hidden: torch.Tensor, mask: torch.Tensor, logits: torch.Tensor, candidates: torch.Tensor | None = None
    ) -> list[list[int]]:
        """The codes that the decoder writes, columns in order, for each note; greedy or beam search by the options.

        Args:
            logits: those of `classify`. candidates: bool (notes, codes), which codes may be written; None: all.
        """
        from transformers import DynamicCache, EncoderDecoderCache

        options = self.settings.options
        if candidates is None:
            candidates = torch.ones(len(hidden), self.grammar.codes, dtype=torch.bool)
        hidden = hidden.repeat_interleave(options.beams, dim=0)
        mask = mask.repeat_interleave(options.beams, dim=0)
        logits = logits.repeat_interleave(options.beams, dim=0)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

        def step(tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
            if options.beams > 1 and cache.get_seq_length():
                cache.reorder_cache(parents)
            return self._write(tokens[:, None], hidden, mask, logits, past_key_values=cache, use_cache=True)[:, -1]

        return generate(step, candidates.to(hidden.device), self.grammar, options.beams, options.max_generated)

    def _write(
        self, read: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor, logits: torch.Tensor, **cache: Any
    ) -> torch.Tensor:
        """Logits of the next token, (rows, tokens read, vocabulary)."""
        states = self.decoder(
            input_ids=read, encoder_hidden_states=hidden, encoder_attention_mask=mask.long(), **cache
        ).last_hidden_state
        written = linear(states * states.shape[-1] ** -0.5, self.decoder.embed_tokens.weight)
        if weight := self.settings.options.classifier_weight:
            written = written + weight * pad(logsigmoid(logits.float()), (FIRST_CODE, 0))[:, None]
        return written

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Any = None) -> None:
        """Trades time for memory in the encoder, the costly part."""
        self.encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs)

    @property
    def label_attentions(self) -> list[LabelAttention]:
        """The blocks whose labels, one after the other, are the columns."""
        return [block for block in self.attention if isinstance(block, LabelAttention)]

    @property
    def threshold(self) -> Threshold:
        """Which codes are accepted; 0.5 where none was chosen."""
        return Threshold(**(self.settings.threshold or {"value": 0.5}))

    def save_pretrained(self, folder: str | Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
        """Writes config.json and model.safetensors into an existing folder.

        Args:
            weights: all of them, gathered, where this process holds a share of each; None: those of the model.
        """
        save_file(dict(weights or self.state_dict()), str(Path(folder) / WEIGHTS), metadata={"format": "pt"})
        write_json(Path(folder) / CONFIG, self.settings.to_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | None = None) -> LtrIcd:
        """Reads what `save_pretrained` wrote; in evaluation mode.

        Raises:
            InputError: a file is missing, damaged or of another format.
        """
        from concept_icd.baselines.ltr_icd.backbones import random_backbone

        config = LtrIcdConfig.load(Path(folder) / CONFIG)
        model = cls(config, *random_backbone(config.backbone, ranking=config.options.ranking))
        try:
            weights = load_file(str(Path(folder) / WEIGHTS))
            require_finite(Path(folder) / WEIGHTS, weights)
            model.load_state_dict(weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"the weights in {folder} are missing or do not fit its config.json: {reason}") from error
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return model.to(device).eval()


def encode_segments(
    encoder: Any, ids: torch.Tensor, mask: torch.Tensor, segment_tokens: int, *, keep_padding: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of the notes, (notes, N, width), 0 where there is no token, and the mask, bool (notes, N).

    N is the tokens rounded up to whole segments. Segments without any token cost nothing.

    Args:
        encoder: a Hugging Face encoder. ids, mask: (notes, tokens), padded on the right.
        keep_padding: as PLM-ICD's script has it: the notes fill whole segments up to the longest note's last one,
            padding is encoded too, in segments with tokens as well as in those without, and counts as tokens in what
            is returned.
    """
    if keep_padding:
        return _with_padding(encoder, ids, mask, segment_tokens)
    notes, tokens = ids.shape
    length = min(segment_tokens, tokens)
    more = -tokens % length
    ids, mask = pad(ids, (0, more)), pad(mask.bool(), (0, more))
    cut_ids, cut_mask = ids.reshape(-1, length), mask.reshape(-1, length)
    real = cut_mask.any(dim=1)
    states = encoder(input_ids=cut_ids[real], attention_mask=cut_mask[real].long()).last_hidden_state
    hidden = states.new_zeros(len(cut_ids), length, states.shape[-1])
    hidden = hidden.index_put((real.nonzero().squeeze(1),), states * cut_mask[real][..., None])
    return hidden.reshape(notes, tokens + more, -1), mask


def _with_padding(
    encoder: Any, ids: torch.Tensor, mask: torch.Tensor, segment_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    notes, tokens = ids.shape
    more = -tokens % segment_tokens
    ids = pad(ids, (0, more), value=encoder.config.pad_token_id or 0).reshape(-1, segment_tokens)
    mask = pad(mask.bool(), (0, more)).reshape(-1, segment_tokens)
    # The script's encoder adds one large negative number to the attention of every padded token: where all are padded,
    # that changes no softmax, so they attend to one another as tokens do.
    attended = mask | ~mask.any(dim=1, keepdim=True)
    hidden = encoder(input_ids=ids, attention_mask=attended.long()).last_hidden_state
    hidden = hidden.reshape(notes, tokens + more, -1)
    return hidden, torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
