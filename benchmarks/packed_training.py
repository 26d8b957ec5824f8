"""Packed tuning against plain one-question prompts: (note, concept) pairs per second, memory, the same loss.

    python benchmarks/packed_training.py --out benchmarks/results/packed_training.json

LoRA on a random Llama of about 100 M parameters, float32; forward and backward over one note of 1,500 tokens and 32
questions of the template's own length. Packed: one sequence. Plain: one prompt a question, gradients accumulated. Both
take turns in one run; the ratio is the median over rounds. Memory: peak above the loaded weights in a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from common import VOCABULARY, arguments, peak_bytes, random_llama, record, timed

from concept_icd.artifacts import write_json
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--note-tokens", type=int, default=1500)
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = arguments(parser)
    sizes = (args.layers, args.note_tokens, args.questions, args.seed)
    model, note, questions, answers = build(*sizes)
    for module in model.modules():  # dropout would make the losses differ
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    packed_step(model, note, questions, answers)
    rounds, gaps = [], []
    for number in range(1, args.rounds + 1):
        packed, packed_loss = timed(packed_step, model, note, questions, answers)
        plain, plain_loss = timed(plain_step, model, note, questions, answers)
        rounds.append((packed, plain))
        gaps.append(abs(packed_loss - plain_loss))
        print(f"round {number}/{args.rounds}: packed {packed:.1f} s, plain {plain:.1f} s", file=sys.stderr, flush=True)
    tokens = sum(map(len, questions))
    result = record("packed_training.py", args.seed) | {
        "note_tokens": len(note),
        "questions": len(questions),
        "question_tokens": tokens,
        "token_ratio": round((len(note) * len(questions) + tokens) / (len(note) + tokens), 1),
        "speed_up": round(statistics.median(plain / packed for packed, plain in rounds), 1),
        "pairs_per_second": {
            "packed": round(len(questions) / statistics.median(packed for packed, _ in rounds), 2),
            "plain": round(len(questions) / statistics.median(plain for _, plain in rounds), 2),
        },
        "largest_loss_gap": max(gaps),
        "peak_bytes_above_weights": {way: peak_bytes(memory_of, way, *sizes) for way in ("packed", "plain")},
    }
    print(json.dumps(result, indent=2))
    if args.out:
        write_json(args.out, result)


if __name__ == "__main__":
    main()
