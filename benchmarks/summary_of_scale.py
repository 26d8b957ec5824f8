"""The sections of benchmarks/README.md about scoring at scale (see summary.py)."""

from __future__ import annotations

from typing import Any


def growth(result: dict[str, Any]) -> list[str]:
    def rows(points: list[dict[str, Any]]) -> list[str]:
        return [
            f"| {point['note_tokens']:,} | {point['questions']:,} | {point['question_tokens']:,} | "
            f"{point['seconds']['packed']} | {point['seconds']['plain_forward']} | **{point['packed_over_floor']}** | "
            f"{point['packed_over_floor_in_cpu_seconds']} | {point['packed_over_floor_in_operations']} |"
            for point in points
        ]

    peak = ", ".join(f"{peak / 2**20:.0f} MiB for {int(n):,}" for n, peak in result["peak_bytes_above_weights"].items())
    return [
        "## Growth with concepts and with the note",
        "",
        f"Random Llama, {result['parameters'] / 1e6:.0f} M parameters ({result['layers']} layers x 768), float32, "
        f"chunks of {result['chunk_tokens']} tokens; medians over {result['rounds']} rounds. The floor is one plain "
        "causal forward pass over as many tokens as the note and its questions have; the last column is the ratio of "
        "the operations that both need.",
        "",
        "![seconds against concepts and note length, and memory](results/growth.svg)",
        "",
        "| note tokens | concepts | question tokens | packed, s | floor, s | packed / floor | in CPU seconds | "
        "in operations |",
        "|---|---|---|---|---|---|---|---|",
        *rows(result["by_questions"]),
        *rows(result["by_note_tokens"]),
        "",
        f"Peak memory above the weights, by concepts asked of one note of {result['by_questions'][0]['note_tokens']:,} "
        f"tokens: {peak}.",
        "",
    ]


def vllm_scoring(result: dict[str, Any]) -> list[str]:
    cases = result["note_tokens"]
    first = next(iter(next(iter(cases.values()))))
    names = {"plain": "one prompt a question"}
    lines = [
        "## Packed scoring against vLLM",
        "",
        f"Random Llama, {result['weight_bytes'] / 4e6:.0f} M parameters, float32, on the CPU; {result['questions']} "
        f"questions of {result['question_tokens_mean']} tokens in the mean; {result['notes_a_round']} notes a round, "
        f"medians over {result['rounds']} rounds in which all ways take turns, each in a process of its own. vLLM with "
        "its prefix cache on.",
        "",
        f"| | notes/s | CPU s a note | time over {first}'s | CPU s over {first}'s | tokens computed a note | "
        "largest score gap |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {int(tokens):,}-token note: {names.get(name, name)} | {way['notes_per_second']:.3g} | "
            f"{way['cpu_seconds_a_note']} | {way[f'seconds_over_{first}']} | {way[f'cpu_seconds_over_{first}']} | "
            f"{way['tokens_computed_a_note']:,} | {way['largest_score_gap']:.0e} |"
            for tokens, ways in cases.items()
            for name, way in ways.items()
        ),
    ]
    peaks = (f"{names.get(name, name)} {peak / 2**20:,.0f} MiB"
             for name, peak in result["peak_bytes_above_weights"].items())  # fmt: skip
    return [*lines, "", f"Peak memory above the weights: {', '.join(peaks)}.", ""]


def ray_overhead(result: dict[str, Any]) -> list[str]:
    def ratio(other: str, key: str) -> str:
        found = result[f"ray_over_{other}, {key}"]
        return f"**{found['median']:.3f}** [{found['lowest']:.3f}, {found['highest']:.3f}]"

    same = "the same bits in all stores" if result["same_bits"] else "**the stores differ**"
    return [
        "## What Ray costs a note",
        "",
        f"The shipped tiny model, {result['notes']} notes of 60 to 250 words, {result['concepts']} concepts, shards of "
        f"{result['shard_notes']} notes; medians over {result['rounds']} rounds in which the ways take turns; {same}. "
        "Start: until all workers have loaded the model.",
        "",
        "| | start, s | wall ms a note | CPU ms a note |",
        "|---|---|---|---|",
        *(
            f"| {result['ways'][way]} | {row['start_seconds']:.1f} | {1e3 * row['seconds_per_note']:.1f} | "
            f"{1e3 * row['cpu_seconds_per_note']:.1f} |"
            for way, row in result["medians"].items()
        ),
        "",
        "| Ray's over that of ... (lowest and highest round) | wall time | CPU time |",
        "|---|---|---|",
        *(
            f"| {result['ways'][other]} | {ratio(other, 'seconds_per_note')} | {ratio(other, 'cpu_seconds_per_note')} |"
            for other in ("process", "pool")
        ),
        "",
    ]


def gpu(result: dict[str, Any]) -> list[str]:
    def share(way: dict[str, Any]) -> str:
        return "" if way["share_of_peak"] is None else f"{way['share_of_peak']:.0%}"

    def memory(way: dict[str, Any]) -> str:
        peak = way["peak_bytes_above_weights"]
        return "" if peak is None else f"{peak / 2**30:.1f} GiB"

    def row(note: str, name: str, way: dict[str, Any]) -> str:
        speed_up = f"**{way['speed_up']}x**" if "speed_up" in way else ""
        return (
            f"| {note} | {name} | {way['notes_per_second']} | {way['tokens_per_second']:,} | {speed_up} | "
            f"{share(way)} | {memory(way)} |"
        )

    peak, product = result["peak_tflop_per_second"], result["matrix_product_tflop_per_second"]
    case = next(iter(result["scoring"].values()))
    lines = [
        "## On a GPU",
        "",
        f"{result['machine']}: dense bfloat16 peak {peak or 'not known'} TFLOP/s, a square matrix product reaches "
        f"{product}. Random weights in the shape of {result['model']}, {result['parameters'] / 1e6:,.0f} M parameters; "
        f"{case['questions']} questions of {case['question_tokens_mean']} tokens in the mean; medians over "
        f"{result['rounds']} rounds. The rival asks one prompt a question in padded batches of as many as fit, with "
        "causal attention and no mask.",
        "",
    ]
    for task, title in (("scoring", "Scoring"), ("tuning", "Tuning, LoRA, forward and backward")):
        lines += [
            f"| {title}: note tokens | | notes/s | tokens/s | faster than one prompt a question | share of peak | "
            "memory above weights |",
            "|---|---|---|---|---|---|---|",
            *(row(note, name, way) for note, case in result[task].items() for name, way in case["ways"].items()),
            "",
        ]
        for note, case in result[task].items():
            for name, way in case["ways"].items():
                if "where_time_goes" in way:
                    shares = ", ".join(f"{kind} {value:.0%}" for kind, value in way["where_time_goes"].items() if value)
                    lines.append(f"- {note} tokens, {name}: {shares}")
        lines.append("")
    return lines
