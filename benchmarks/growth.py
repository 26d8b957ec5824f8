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

import statistics
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from common import arguments, costed, finish, median_ratio, minutes, parser_of, peak_bytes, rounded, tell
from random_model import Case, build_case, llama_shape, plain_forward, random_llama

from concept_icd.doctor.cost_model import attention_flops, linear_flops, scoring_flops
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.report.charts import HEIGHT, WIDTH, Chart, linear
from concept_icd.scoring.packed import PackedScorer

#: Names of the two ways in the results and in the picture.
WAYS = {"packed": "packed scoring", "plain_forward": "floor: a plain causal forward pass over as many tokens"}
HEAD = 44  # pixels above the charts for titles and the legend


def build_scorer(layers: int, longest: int, chunk_tokens: int, seed: int) -> PackedScorer:
    """The random model, with positions for the longest plain forward pass."""
    return PackedScorer(random_llama(layers, seed, longest), PromptTemplate.load(), chunk_tokens=chunk_tokens)


def score_packed(case: Case) -> list[Any]:
    return list(case.scorer.iter_scores(case.notes, case.concepts))


def measure(cases: Sequence[Case], rounds: int, layers: int) -> list[dict[str, Any]]:
    """Rounds in which every case has its turn, both ways one after the other."""
    seconds: list[dict[str, list[float]]] = [{way: [] for way in WAYS} for _ in cases]
    cpu: list[dict[str, float]] = [dict.fromkeys(WAYS, 0.0) for _ in cases]
    ways: dict[str, Callable[[Case], Any]] = {
        "packed": score_packed,
        "plain_forward": lambda case: plain_forward(case.scorer.model, case.prompt_tokens),
    }
    for run in ways.values():
        run(cases[0])
    for number in range(rounds):
        for case, taken, worked in zip(cases, seconds, cpu, strict=True):
            for way in list(ways)[:: -1 if number % 2 else 1]:
                cost, _ = costed(ways[way], case)
                taken[way].append(cost["wall"])
                worked[way] += cost["processor"]
            last = ", ".join(f"{way} {taken[way][-1]:.2f} s" for way in ways)
            tokens = f"{case.prompt_tokens:,} tokens, {len(case.ids[0]):,} of them the note's"
            tell(f"round {number + 1}/{rounds}: {tokens}: {last}")
    return [describe(*values, layers) for values in zip(cases, seconds, cpu, strict=True)]


def describe(case: Case, seconds: dict[str, list[float]], cpu: dict[str, float], layers: int) -> dict[str, Any]:
    """Seconds, operations and their ratios of a case. CPU seconds (of all rounds) bear a busy machine better."""
    shape, note, tokens = llama_shape(layers), len(case.ids[0]), case.prompt_tokens
    floor = linear_flops(shape, tokens) + attention_flops(shape, tokens, tokens / 2)
    flops = {"packed": scoring_flops(shape, note, tokens - note), "plain_forward": floor}
    median = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "note_tokens": note,
        "questions": len(case.concepts),
        "question_tokens": tokens - note,
        "packed_over_floor": median_ratio(seconds["packed"], seconds["plain_forward"]),
        "packed_over_floor_in_cpu_seconds": round(cpu["packed"] / cpu["plain_forward"], 3),
        "packed_over_floor_in_operations": round(flops["packed"] / flops["plain_forward"], 3),
        "seconds": rounded(median, 2),
        "cpu_seconds_of_all_rounds": rounded(cpu, 2),
        "seconds_of_rounds": {way: [round(value, 2) for value in values] for way, values in seconds.items()},
        "gflop": {way: round(count / 1e9) for way, count in flops.items()},
        "gflop_per_second": {way: round(flops[way] / 1e9 / median[way], 1) for way in flops},
    }


def memory_of(layers: int, longest: int, chunk_tokens: int, note_tokens: int, questions: int, seed: int) -> Any:
    """Loads the model; the function returned scores a note."""
    case = build_case(build_scorer(layers, longest, chunk_tokens, seed), note_tokens, questions, seed)
    return lambda: score_packed(case)


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
    parser = parser_of(__doc__, at_note_tokens=1500, at_questions=150, layers=12, rounds=3, chunk_tokens=512)
    parser.add_argument("--questions", type=int, nargs="+", default=[50, 150, 500, 2000])
    parser.add_argument("--note-tokens", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000])
    args = arguments(parser)
    sizes = [(args.at_note_tokens, count) for count in sorted(args.questions)]
    sizes += [(length, args.at_questions) for length in sorted(args.note_tokens)]
    longest = max(length + 40 * count for length, count in sizes)  # no question is longer than 40 tokens
    model = (args.layers, longest, args.chunk_tokens)
    scorer = build_scorer(*model, args.seed)
    measured = measure([build_case(scorer, *size, args.seed) for size in sizes], args.rounds, args.layers)
    memory = {
        str(count): peak_bytes(memory_of, *model, args.at_note_tokens, count, args.seed)
        for count in sorted(args.questions)
    }
    result = {
        "minutes": minutes(),
        "rounds": args.rounds,
        "layers": args.layers,
        "parameters": sum(parameter.numel() for parameter in scorer.model.parameters()),
        "chunk_tokens": args.chunk_tokens,
        "by_questions": measured[: len(args.questions)],
        "by_note_tokens": measured[len(args.questions) :],
        "peak_bytes_above_weights": memory,
    }
    finish(args, result)
    if args.out:
        args.out.with_suffix(".svg").write_text(draw(result), encoding="utf-8")


if __name__ == "__main__":
    main()
