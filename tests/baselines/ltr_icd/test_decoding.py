"""What the decoder may write, whatever its weights say; and that greedy and beam search find what they should."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_icd.baselines.ltr_icd.decoding import DIAGNOSES, END, PROCEDURES, START, Grammar, generate

FOUR = Grammar(diagnoses=2, codes=4)


def any_code(notes: int, grammar: Grammar = FOUR) -> torch.Tensor:
    return torch.ones(notes, grammar.codes, dtype=torch.bool)


def table(grammar: Grammar, seed: int):  # type: ignore[no-untyped-def]
    """Logits that hang on the last token alone, large enough that probabilities differ much."""
    logits = torch.randn(grammar.tokens, grammar.tokens, generator=torch.Generator().manual_seed(seed)) * 3
    return logits, lambda last, parents: logits[last]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4), st.integers(1, 20), st.integers(0, 99))
def test_whatever_the_weights_no_code_comes_twice_and_kinds_are_in_order(diagnoses, procedures, beams, most, seed):
    grammar = Grammar(diagnoses, diagnoses + procedures)
    _, step = table(grammar, seed)
    candidates = torch.rand(3, grammar.codes, generator=torch.Generator().manual_seed(seed)) < 0.7
    written = generate(step, candidates, grammar, beams, most)
    assert len(written) == 3
    for codes, possible in zip(written, candidates, strict=True):
        assert all(possible[code] for code in codes)
        assert len(set(codes)) == len(codes)
        assert all(0 <= code < grammar.codes for code in codes)
        assert [code >= diagnoses for code in codes] == sorted(code >= diagnoses for code in codes)
        assert len(codes) <= most


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        ([START], {DIAGNOSES}),
        ([START, DIAGNOSES], {4, 5, PROCEDURES}),
        ([START, DIAGNOSES, 5], {4, PROCEDURES}),
        ([START, DIAGNOSES, 5, PROCEDURES], {6, 7, END}),
        ([START, DIAGNOSES, 5, PROCEDURES, 6], {7, END}),
        ([START, DIAGNOSES, 5, PROCEDURES, 6, 7], {END}),
        ([START, DIAGNOSES, PROCEDURES, END], {START}),
        ([START, DIAGNOSES, PROCEDURES, END, START], {START}),
    ],
)
def test_grammar(written: list[int], allowed: set[int]) -> None:
    assert set(FOUR.allowed(torch.tensor([written]))[0, -1].nonzero().flatten().tolist()) == allowed


@pytest.mark.parametrize(
    ("codes", "tokens"),
    [
        ([1, 0, 3], [DIAGNOSES, 5, 4, PROCEDURES, 7, END]),
        ([2], [DIAGNOSES, PROCEDURES, 6, END]),  # only procedures
        ([1], [DIAGNOSES, 5, PROCEDURES, END]),  # one code
        ([], [DIAGNOSES, PROCEDURES, END]),
    ],
)
def test_a_note_as_tokens_and_back(codes: list[int], tokens: list[int]) -> None:
    assert FOUR.encode(codes) == tokens
    assert FOUR.decode(tokens) == codes
    for length, token in enumerate(tokens):  # every training sequence is one that decoding can write
        assert FOUR.allowed(torch.tensor([[START, *tokens]]))[0, length, token]


def all_sequences(following: Callable[[list[int]], torch.Tensor]) -> dict[tuple[int, ...], float]:
    """Every sentence of the grammar FOUR with its probability among allowed tokens.

    Args:
        following: what is written -> logits of the next token.
    """
    found = {}
    for first, second in itertools.product([[], [0], [1], [0, 1], [1, 0]], [[], [2], [3], [2, 3], [3, 2]]):
        written, total = [START], 0.0
        for token in FOUR.encode(first + second):
            allowed = FOUR.allowed(torch.tensor([written]))[0, -1]
            total += following(written).masked_fill(~allowed, -math.inf).log_softmax(0)[token].item()
            written.append(token)
        found[(*first, *second)] = math.exp(total)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_enough_beams_find_the_most_probable_sequence(seed: int) -> None:
    logits, step = table(FOUR, seed)
    sequences = all_sequences(lambda written: logits[written[-1]])
    assert sum(sequences.values()) == pytest.approx(1.0)
    assert generate(step, any_code(2), FOUR, beams=25, most=10) == [list(max(sequences, key=sequences.__getitem__))] * 2


def test_one_beam_is_greedy() -> None:
    logits, step = table(FOUR, 3)
    written = [START]
    while written[-1] != END:
        allowed = FOUR.allowed(torch.tensor([written]))[0, -1]
        written.append(int(logits[written[-1]].masked_fill(~allowed, -math.inf).argmax()))
    assert generate(step, any_code(1), FOUR, beams=1, most=10) == [FOUR.decode(written)]


def test_a_sequence_cut_short_is_taken_as_far_as_it_went() -> None:
    def step(last: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.0, -9, 0, -9, 2, 1, 2, 1]]).expand(len(last), -1)  # codes before any mark

    assert generate(step, any_code(1), FOUR, beams=1, most=10) == [[0, 1, 2, 3]]
    assert generate(step, any_code(1), FOUR, beams=1, most=2) == [[0]]
    assert generate(step, any_code(1), FOUR, beams=1, most=1) == [[]]


@pytest.mark.parametrize("seed", range(5))
def test_beams_are_told_which_rows_they_continue(seed: int) -> None:
    """A step that remembers all that was written, as a key-value cache does: its memory must follow `parents`."""
    logits, _ = table(FOUR, seed)
    memory: list[torch.Tensor] = []

    def mean(written: torch.Tensor) -> torch.Tensor:
        weights = torch.arange(1, written.shape[-1] + 1, dtype=torch.float32)
        return (logits[written] * weights[:, None]).mean(dim=-2)

    def step(last: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        memory[:] = [torch.cat([memory[0][parents], last[:, None]], dim=1)] if memory else [last[:, None]]
        return mean(memory[0])

    sequences = all_sequences(lambda written: mean(torch.tensor(written)))
    assert generate(step, any_code(1), FOUR, beams=25, most=10) == [list(max(sequences, key=sequences.__getitem__))]
