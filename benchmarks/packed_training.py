"""Packed tuning against plain one-question prompts: (note, concept) pairs per second, memory, the same loss.

    python benchmarks/packed_training.py --out benchmarks/results/packed_training.json

LoRA on a random Llama of about 100 M parameters, float32; forward and backward over one note of 1,500 tokens and 32
questions of the template's own length. Packed: one sequence. Plain: one prompt a question, gradients accumulated. Both
take turns in one run; the ratio is the median over rounds. Memory: peak above the loaded weights in a process of its
own.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import torch
from common import arguments, finish, median_ratio, parser_of, peak_bytes, take_turns
from random_model import VOCABULARY, random_llama

from concept_icd.llm.packed_pass import accept_packing, packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.tuning.trainer import answer_loss

YES, NO = 5, 6


def build(
    layers: int, note_tokens: int, questions: int, seed: int
) -> tuple[Any, list[int], list[list[int]], torch.Tensor]:
    """The model with fresh LoRA weights, a note, questions of 6 to 14 tokens, and their answers."""
    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(random_llama(layers, seed).model, config).train()
    rng = np.random.default_rng(seed)
    note = rng.integers(7, VOCABULARY, note_tokens).tolist()
    asked = [rng.integers(7, VOCABULARY, rng.integers(6, 15)).tolist() for _ in range(questions)]
    accept_packing(model)
    return model, note, asked, torch.tensor(rng.integers(0, 2, questions), dtype=torch.float32)


def packed_step(model: Any, note: list[int], questions: list[list[int]], answers: torch.Tensor) -> float:
    model.zero_grad()
    batch = pack_batch([note], [questions], padding_id=0)
    loss = answer_loss(packed_margins(model, batch, YES, NO, len(questions)), answers[None]) / len(questions)
    loss.backward()
    return loss.item()


def plain_step(model: Any, note: list[int], questions: list[list[int]], answers: torch.Tensor) -> float:
    model.zero_grad()
    total = 0.0
    for question, answer in zip(questions, answers, strict=True):
        logits = model(torch.tensor([[*note, *question]]), logits_to_keep=1, use_cache=False).logits
        loss = answer_loss(logits[..., YES] - logits[..., NO], answer[None, None]) / len(questions)
        loss.backward()
        total += loss.item()
    return total


def memory_of(way: str, *sizes: int) -> Callable[[], Any]:
    """Loads the model; the function returned takes a step (of two prompts where they come one by one)."""
    model, note, questions, answers = build(*sizes)
    if way == "packed":
        return lambda: packed_step(model, note, questions, answers)
    return lambda: plain_step(model, note, questions[:2], answers[:2])


def main() -> None:
    args = arguments(parser_of(__doc__, note_tokens=1500, questions=32, layers=12, rounds=3))
    sizes = (args.layers, args.note_tokens, args.questions, args.seed)
    model, note, questions, answers = build(*sizes)
    for module in model.modules():  # dropout would make the losses differ
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    packed_step(model, note, questions, answers)
    losses: dict[str, list[float]] = {"packed": [], "plain": []}
    ways = {
        "packed": lambda: losses["packed"].append(packed_step(model, note, questions, answers)),
        "plain": lambda: losses["plain"].append(plain_step(model, note, questions, answers)),
    }
    seconds = take_turns(ways, args.rounds)
    tokens = sum(map(len, questions))
    result = {
        "note_tokens": len(note),
        "questions": len(questions),
        "question_tokens": tokens,
        "token_ratio": round((len(note) * len(questions) + tokens) / (len(note) + tokens), 1),
        "speed_up": median_ratio(seconds["plain"], seconds["packed"], 1),
        "pairs_per_second": {way: round(len(questions) / statistics.median(own), 2) for way, own in seconds.items()},
        "largest_loss_gap": max(abs(a - b) for a, b in zip(*losses.values(), strict=True)),
        "peak_bytes_above_weights": {way: peak_bytes(memory_of, way, *sizes) for way in ("packed", "plain")},
    }
    finish(args, result)


if __name__ == "__main__":
    main()
