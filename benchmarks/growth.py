"""How packed scoring grows: with the number of concepts and with the length of the note, beside its floor.

    python benchmarks/growth.py --out benchmarks/results/growth.json

A random Llama of about 100 M parameters, float32. Once a note of 1,500 tokens is asked about 50 to 2,000 concepts, once
notes of 500 to 8,000 tokens about 150. The floor is one ordinary causal forward pass over as many tokens as the note
and its questions have. Both take turns, round after round; a figure is the median over rounds. Beside the seconds stand
the operations that each way needs (`concept_icd.doctor.cost_model`), since packed questions do not read each other and
so need fewer than the floor. Memory is the resident set's peak above the loaded weights, of a process that does nothing
else. The curves are drawn into an SVG file beside the results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import SIZES, VOCABULARY, arguments, peak_bytes, random_concepts, random_llama, random_note, record, timed

from concept_icd.artifacts import write_json
from concept_icd.doctor.cost_model import ModelShape, attention_flops, linear_flops, scoring_flops
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.records import Concept, Note
from concept_icd.report.charts import HEIGHT, WIDTH, Chart, linear
from concept_icd.scoring.packed import PackedScorer

#: Names of the two ways in the results and in the picture.
WAYS = {"packed": "packed scoring", "plain_forward": "floor: a plain causal forward pass over as many tokens"}
HEAD = 44  # pixels above the charts for titles and the legend


@dataclass
class Point:
    """A note and the concepts that it is asked about."""

    note: Note
    concepts: Sequence[Concept]
    note_tokens: int
    question_tokens: int

    @property
    def tokens(self) -> int:
        return self.note_tokens + self.question_tokens


def build_scorer(layers: int, longest: int, chunk_tokens: int, seed: int) -> PackedScorer:
    """The random model, with positions for the longest plain forward pass."""
    return PackedScorer(random_llama(layers, seed, longest), PromptTemplate.load(), chunk_tokens=chunk_tokens)


def build_point(scorer: PackedScorer, note_tokens: int, questions: int, seed: int) -> Point:
    """Random words, and real titles of concepts in a random order: fewer concepts are the first of more."""
    rng = np.random.default_rng(seed)
    concepts = random_concepts(questions, rng)
    asked = sum(len(scorer.tokens.encode_question(concept.text)) for concept in concepts)
    return Point(random_note(scorer.tokens, "note", note_tokens, rng), concepts, note_tokens, asked)


def score_packed(scorer: PackedScorer, point: Point) -> list[Any]:
    return list(scorer.iter_scores([point.note], point.concepts))


@torch.inference_mode()
def plain_forward(scorer: PackedScorer, point: Point) -> None:
    """An ordinary causal forward pass over as many tokens."""
    ids = torch.randint(VOCABULARY, (1, point.tokens))
    scorer.model(ids, logits_to_keep=1, use_cache=False)


def measure(scorer: PackedScorer, points: Sequence[Point], rounds: int, layers: int) -> list[dict[str, Any]]:
    """Rounds in which every point has its turn, both ways one after the other."""
    seconds: list[dict[str, list[float]]] = [{way: [] for way in WAYS} for _ in points]
    cpu: list[dict[str, float]] = [dict.fromkeys(WAYS, 0.0) for _ in points]
    ways: dict[str, Callable[[PackedScorer, Point], Any]] = {"packed": score_packed, "plain_forward": plain_forward}
    for run in ways.values():
        run(scorer, points[0])
    for number in range(rounds):
        for point, taken, worked in zip(points, seconds, cpu, strict=True):
            for way in list(ways)[:: -1 if number % 2 else 1]:
                before = time.process_time()
                taken[way].append(timed(ways[way], scorer, point)[0])
                worked[way] += time.process_time() - before
            last = ", ".join(f"{way} {taken[way][-1]:.2f} s" for way in ways)
            print(f"round {number + 1}/{rounds}: {point.note_tokens:,} + {point.question_tokens:,} tokens: {last}",
                  file=sys.stderr, flush=True)  # fmt: skip
    return [describe(*values, layers) for values in zip(points, seconds, cpu, strict=True)]


def describe(point: Point, seconds: dict[str, list[float]], cpu: dict[str, float], layers: int) -> dict[str, Any]:
    """Seconds, operations and their ratios at one point. CPU seconds (of all rounds) bear a busy machine better."""
    shape = shape_of_random_llama(layers)
    floor = linear_flops(shape, point.tokens) + attention_flops(shape, point.tokens, point.tokens / 2)
    flops = {"packed": scoring_flops(shape, point.note_tokens, point.question_tokens), "plain_forward": floor}
    median = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "note_tokens": point.note_tokens,
        "questions": len(point.concepts),
        "question_tokens": point.question_tokens,
        "packed_over_floor": round(statistics.median(map(np.divide, seconds["packed"], seconds["plain_forward"])), 3),
        "packed_over_floor_in_cpu_seconds": round(cpu["packed"] / cpu["plain_forward"], 3),
        "packed_over_floor_in_operations": round(flops["packed"] / flops["plain_forward"], 3),
        "seconds": {way: round(value, 2) for way, value in median.items()},
        "cpu_seconds_of_all_rounds": {way: round(value, 2) for way, value in cpu.items()},
        "seconds_of_rounds": {way: [round(value, 2) for value in values] for way, values in seconds.items()},
        "gflop": {way: round(count / 1e9) for way, count in flops.items()},
        "gflop_per_second": {way: round(flops[way] / 1e9 / median[way], 1) for way in flops},
    }


def shape_of_random_llama(layers: int) -> ModelShape:
    heads, hidden = SIZES["num_attention_heads"], SIZES["hidden_size"]
    middle = SIZES["intermediate_size"]
    return ModelShape(layers, hidden, middle, heads, heads, hidden // heads, VOCABULARY, 0, False, "common.py")


def memory_of(layers: int, longest: int, chunk_tokens: int, note_tokens: int, questions: int, seed: int) -> Any:
    """Loads the model; the function returned scores a note."""
    scorer = build_scorer(layers, longest, chunk_tokens, seed)
    point = build_point(scorer, note_tokens, questions, seed)
    return lambda: score_packed(scorer, point)


def draw(result: dict[str, Any]) -> str:
    """The curves as one SVG file that needs nothing else: time against concepts and note length, memory."""
    memory = [(int(count), peak / 2**20) for count, peak in result["peak_bytes_above_weights"].items()]
    chart = Chart(
        "Peak memory", linear(memory[-1][0]), linear(1.25 * max(mib for _, mib in memory)), "concepts asked", "MiB"
    )
    chart.line(memory, "one")
    for count, mib in memory:
        chart.dot(count, mib, "one", f"{count:,} concepts: {mib:.0f} MiB")
    charts = [
        time_chart(result["by_questions"], "questions", "concepts asked"),
        time_chart(result["by_note_tokens"], "note_tokens", "tokens of the note"),
        chart,
    ]
    first, second = result["by_questions"][0], result["by_note_tokens"][0]
    titles = (
        f"Seconds a note of {first['note_tokens']:,} tokens",
        f"Seconds a note with {second['questions']:,} concepts",
        f"Peak memory above the weights, a note of {first['note_tokens']:,} tokens",
    )
    width = 3 * WIDTH + 16
    parts = [f'<rect width="{width}" height="{HEIGHT + HEAD}" fill="var(--paper)"/>']
    for column, (colour, label) in enumerate(zip(("one", "faint dashed"), WAYS.values(), strict=True)):
        left = 52 + 150 * column
        parts.append(f'<line class="line {colour}" x1="{left}" x2="{left + 22}" y1="12" y2="12"/>')
        parts.append(f'<text x="{left + 28}" y="16">{escape(label)}</text>')
    for column, (panel, title) in enumerate(zip(charts, titles, strict=True)):
        box = f'x="{column * WIDTH}" y="{HEAD}" width="{WIDTH}" height="{HEIGHT}" overflow="visible"'
        parts.append(f'<text x="{column * WIDTH + 52}" y="38" font-weight="600">{escape(title)}</text>')
        parts.append(panel.render().partition("</svg>")[0].replace("<svg ", f"<svg {box} ", 1) + "</svg>")
    size = f'viewBox="0 0 {width} {HEIGHT + HEAD}" font-family="system-ui, sans-serif"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style()}</style>{"".join(parts)}</svg>\n'


def time_chart(points: Sequence[dict[str, Any]], key: str, label: str) -> Chart:
    """Seconds of both ways against `key`."""
    high = 1.05 * max(seconds for point in points for seconds in point["seconds"].values())
    chart = Chart(label, linear(points[-1][key]), linear(high), label, "seconds")
    for way, colour in (("plain_forward", "faint"), ("packed", "one")):
        chart.line([(point[key], point["seconds"][way]) for point in points], colour, dashed=colour == "faint")
        for point in points:
            text = f"{WAYS[way]}: {point['seconds'][way]} s at {point[key]:,}"
            chart.dot(point[key], point["seconds"][way], colour, text)
    return chart


def style() -> str:
    """The colours and marks of the report's style sheet, light and dark."""
    sheet = files("concept_icd.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    marks = [line for line in sheet.splitlines() if line.startswith(("svg text", ".grid", ".axis", ".line", ".dot"))]
    return sheet.partition("* {")[0] + "\n".join(marks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, nargs="+", default=[50, 150, 500, 2000])
    parser.add_argument("--note-tokens", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000])
    parser.add_argument("--at-note-tokens", type=int, default=1500, help="length of the note asked more and more")
    parser.add_argument("--at-questions", type=int, default=150, help="questions to the notes that grow")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk-tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = arguments(parser)
    start = time.perf_counter()
    sizes = [(args.at_note_tokens, count) for count in sorted(args.questions)]
    sizes += [(length, args.at_questions) for length in sorted(args.note_tokens)]
    longest = max(length + 40 * count for length, count in sizes)  # no question is longer than 40 tokens
    model = (args.layers, longest, args.chunk_tokens)
    scorer = build_scorer(*model, args.seed)
    points = [build_point(scorer, *size, args.seed) for size in sizes]
    measured = measure(scorer, points, args.rounds, args.layers)
    memory = {
        str(count): peak_bytes(memory_of, *model, args.at_note_tokens, count, args.seed)
        for count in sorted(args.questions)
    }
    result = record("growth.py", args.seed) | {
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "rounds": args.rounds,
        "layers": args.layers,
        "parameters": sum(parameter.numel() for parameter in scorer.model.parameters()),
        "chunk_tokens": args.chunk_tokens,
        "by_questions": measured[: len(args.questions)],
        "by_note_tokens": measured[len(args.questions) :],
        "peak_bytes_above_weights": memory,
    }
    print(json.dumps({key: result[key] for key in ("by_questions", "by_note_tokens")}, indent=2))
    print("peak bytes above the weights:", memory)
    if args.out:
        write_json(args.out, result)
        args.out.with_suffix(".svg").write_text(draw(result), encoding="utf-8")


if __name__ == "__main__":
    main()
