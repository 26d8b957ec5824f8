"""Packed scoring against one prompt per question: time, memory, and the same scores.

    python benchmarks/packed_scoring.py --out benchmarks/results/packed_scoring.json

A random Llama of about 100 M parameters, float32; a note of 1,500 tokens; 150 questions, once of 20 tokens each, once
as short as the package's own template makes them. All ways take turns in one run, round after round, so that a noisy
machine is noisy for all of them; figures are ratios of the medians over rounds. Memory is the resident set's peak
above the loaded weights, of a process that does nothing else.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import arguments, finish, median_ratio, parser_of, peak_bytes, tell, timed
from random_model import VOCABULARY, plain_forward, random_llama

from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.scoring.packed import PackedScorer


@dataclass
class Case:
    """A note and its questions, as token ids."""

    name: str
    note: list[int]
    questions: list[list[int]]

    @property
    def packed_tokens(self) -> int:
        return len(self.note) + sum(map(len, self.questions))

    @property
    def token_ratio(self) -> float:
        """What sharing the note could save at most, by token count."""
        return sum(len(self.note) + len(question) for question in self.questions) / self.packed_tokens


def build_cases(scorer: PackedScorer, note_tokens: int, questions: int, seed: int) -> list[Case]:
    """Random tokens of the stated lengths, and questions as long as the template's over real titles."""
    rng = np.random.default_rng(seed)

    def draw(length: int) -> list[int]:
        return rng.integers(3, VOCABULARY, length).tolist()

    note = draw(note_tokens)
    long = [draw(20) for _ in range(questions)]
    ontology = load_ontology("icd9cm")
    diagnoses = ontology.codes("diagnosis")
    texts = [concept.text for concept in ConceptSet.expand(diagnoses[:: len(diagnoses) // 75], ontology).concepts]
    lengths = [len(scorer.tokens.encode_question(texts[i])) for i in rng.choice(len(texts), questions, replace=False)]
    short = [draw(length) for length in lengths]
    return [Case("20-token questions", note, long), Case("the template's own questions", note, short)]


def score_packed(scorer: PackedScorer, case: Case) -> np.ndarray:
    return scorer.ask(scorer.read([case.note]), [case.questions])[0]


@torch.inference_mode()
def score_plain(scorer: PackedScorer, case: Case, which: range) -> list[float]:
    """One prompt a question, as a generic library scores it: the last position's logits."""
    scores = []
    for i in which:
        ids = torch.tensor([[*case.note, *case.questions[i]]])
        logits = scorer.model(ids, logits_to_keep=1, use_cache=False).logits[0, -1]
        scores.append(float(logits[scorer.tokens.yes_id] - logits[scorer.tokens.no_id]))
    return scores


def measure(case: Case, scorer: PackedScorer, rounds: int) -> dict[str, Any]:
    """Rounds in which every way has its turn; a round's plain prompts are a share of all 150."""
    score_packed(scorer, case)
    plain_forward(scorer.model, case.packed_tokens)
    shares = np.array_split(np.arange(len(case.questions)), rounds)
    packed, floor, per_prompt, gaps = [], [], [], []
    for number, share in enumerate(shares, start=1):
        seconds, scores = timed(score_packed, scorer, case)
        packed.append(seconds)
        floor.append(timed(plain_forward, scorer.model, case.packed_tokens)[0])
        seconds, plain = timed(score_plain, scorer, case, share)
        per_prompt.append(seconds / len(share))
        gaps.append(np.abs(np.array(plain) - scores[share]).max())
        last = f"packed {packed[-1]:.1f} s, plain forward {floor[-1]:.1f} s, one prompt {per_prompt[-1]:.2f} s"
        tell(f"{case.name}: round {number}/{rounds}: {last}")
    speed_up = statistics.median(p * len(case.questions) / q for p, q in zip(per_prompt, packed, strict=True))
    return {
        "note_tokens": len(case.note),
        "questions": len(case.questions),
        "question_tokens_mean": round(float(np.mean([len(q) for q in case.questions])), 2),
        "token_ratio": round(case.token_ratio, 1),
        "speed_up": round(speed_up, 1),
        "share_of_token_ratio": round(speed_up / case.token_ratio, 3),
        "packed_over_plain_forward": median_ratio(packed, floor),
        "packed_seconds": [round(s, 2) for s in packed],
        "plain_forward_seconds": [round(s, 2) for s in floor],
        "seconds_per_plain_prompt": [round(s, 3) for s in per_prompt],
        "largest_score_gap": float(max(gaps)),
        "score_spread": float(np.ptp(scores)),
    }


def memory_of(way: str, layers: int, note_tokens: int, questions: int, seed: int) -> Callable[[], Any]:
    """Loads the model; the function returned scores a note."""
    scorer = PackedScorer(random_llama(layers, seed), PromptTemplate.load())
    case = build_cases(scorer, note_tokens, questions, seed)[0]
    return lambda: score_packed(scorer, case) if way == "packed" else score_plain(scorer, case, range(2))


def main() -> None:
    args = arguments(parser_of(__doc__, note_tokens=1500, questions=150, layers=12, rounds=10, chunk_tokens=512))
    scorer = PackedScorer(random_llama(args.layers, args.seed), PromptTemplate.load(), chunk_tokens=args.chunk_tokens)
    cases = build_cases(scorer, args.note_tokens, args.questions, args.seed)
    sizes = (args.layers, args.note_tokens, args.questions, args.seed)
    result = {
        "rounds": args.rounds,
        "parameters": sum(parameter.numel() for parameter in scorer.model.parameters()),
        "chunk_tokens": args.chunk_tokens,
        "cases": {case.name: measure(case, scorer, args.rounds) for case in cases},
        "peak_bytes_above_weights": {way: peak_bytes(memory_of, way, *sizes) for way in ("packed", "plain")},
    }
    finish(args, result)


if __name__ == "__main__":
    main()
