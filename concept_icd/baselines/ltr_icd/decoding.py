"""Decoding under a grammar: `DIAGNOSES d d ... PROCEDURES p p ... END`, no code twice, no code outside the set.

It knows tokens and a function that gives logits, nothing of notes or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

#: The decoder's vocabulary: what it starts from (also padding), the three marks, and then one token a code.
START, END, DIAGNOSES, PROCEDURES, FIRST_CODE = 0, 1, 2, 3, 4

#: (last token of each row, row that each row continues) -> logits (rows, tokens) of the next token.
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Grammar:
    """What may follow: of `codes` codes the first `diagnoses` are diagnoses, the others procedures."""

    diagnoses: int
    codes: int

    @property
    def tokens(self) -> int:
        """Size of the vocabulary."""
        return FIRST_CODE + self.codes

    def encode(self, codes: Sequence[int]) -> list[int]:
        """The tokens of a note whose codes are the columns `codes`: diagnoses in order, then procedures in order.

        >>> Grammar(diagnoses=2, codes=3).encode([2, 1])
        [2, 5, 3, 6, 1]
        """
        diagnoses = [FIRST_CODE + code for code in codes if code < self.diagnoses]
        procedures = [FIRST_CODE + code for code in codes if code >= self.diagnoses]
        return [DIAGNOSES, *diagnoses, PROCEDURES, *procedures, END]

    def decode(self, tokens: Sequence[int]) -> list[int]:
        """The columns of the codes among `tokens`, in their order."""
        return [token - FIRST_CODE for token in tokens if token >= FIRST_CODE]

    def allowed(self, written: torch.Tensor) -> torch.Tensor:
        """Which tokens may follow each token, bool (rows, length, tokens), given all that was `written` before it.

        Args:
            written: (rows, length), beginning with `START`.
        """
        seen = torch.zeros((*written.shape, self.tokens), dtype=torch.int16, device=written.device)
        seen = seen.scatter_(2, written[..., None], 1).cumsum(dim=1, dtype=torch.int16) > 0
        begun, second, ended = (seen[..., mark, None] for mark in (DIAGNOSES, PROCEDURES, END))
        border = FIRST_CODE + self.diagnoses
        allowed = ~seen
        allowed[..., DIAGNOSES, None] &= ~begun
        allowed[..., FIRST_CODE:border] &= begun & ~second
        allowed[..., PROCEDURES, None] &= begun
        allowed[..., border:] &= second & ~ended
        allowed[..., END, None] &= second
        allowed[..., START, None] = ended  # padding
        return allowed


@torch.no_grad()
def generate(step: Step, candidates: torch.Tensor, grammar: Grammar, beams: int, most: int) -> list[list[int]]:
    """The codes of each note in the order in which they are written: columns, diagnoses before procedures.

    Of the sequences that beam search keeps, the most probable one; probabilities are those among allowed tokens. One
    beam is greedy decoding. A sequence of `most` tokens that has not ended is taken as it is.

    Args:
        candidates: bool (notes, codes), which codes may be written at all.
    """
    notes, device = len(candidates), candidates.device
    possible = torch.ones(notes, grammar.tokens, dtype=torch.bool, device=device)
    possible[:, FIRST_CODE:] = candidates
    possible = possible.repeat_interleave(beams, dim=0)
    rows = torch.arange(notes * beams, device=device)
    written = torch.full((notes * beams, 1), START, device=device)
    total = torch.full((notes, beams), -torch.inf, device=device)
    total[:, 0] = 0.0  # all beams of a note begin alike
    parents = rows
    for _ in range(most):
        logits = step(written[:, -1], parents).float()
        following = logits.masked_fill(~(grammar.allowed(written)[:, -1] & possible), -torch.inf).log_softmax(dim=1)
        both = (total[..., None] + following.view(notes, beams, -1)).flatten(1)
        total, best = both.topk(beams, dim=1)
        parents = (best // grammar.tokens + rows.view(notes, beams)[:, :1]).flatten()
        written = torch.cat([written[parents], (best % grammar.tokens).view(-1, 1)], dim=1)
        if (written[:, -1] <= END).all():  # ended, or padding after the end
            break
    first = total.argmax(dim=1) + rows.view(notes, beams)[:, 0]
    return [grammar.decode(tokens) for tokens in written[first].tolist()]
