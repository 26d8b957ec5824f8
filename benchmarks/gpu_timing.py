"""What gpu.py times with: rounds that take turns on a device, where the time goes, and the operations of a way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from common import tell
from torch.profiler import ProfilerActivity, profile

from concept_icd.doctor.cost_model import CARDS, ModelShape, attention_flops, linear_flops

#: Dense bfloat16 peaks in FLOP/s by what torch calls the card; an H200 has the processor of an H100.
PEAKS = {
    "NVIDIA A100-SXM4-40GB": CARDS["a100"].peak,
    "NVIDIA A100-SXM4-80GB": CARDS["a100"].peak,
    "NVIDIA A100-PCIE-40GB": CARDS["a100"].peak,
    "NVIDIA A100 80GB PCIe": CARDS["a100"].peak,
    "NVIDIA H100 80GB HBM3": CARDS["h100"].peak,
    "NVIDIA H200": CARDS["h100"].peak,
    "NVIDIA GeForce RTX 4090": CARDS["rtx4090"].peak,
}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def largest_that_fits(run: Callable[[int], Any], size: int) -> int:
    """`size`, halved until `run(size)` does not run out of the card's memory; it has then been warmed up.

    Raises:
        torch.OutOfMemoryError: not even one fits.
    """
    while True:
        try:
            run(size)
            return size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        size //= 2  # outside the handler, which holds on to what was allocated
        torch.cuda.empty_cache()


def take_turns(
    ways: dict[str, Callable[[], Any]], rounds: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, int | None]]:
    """Seconds of each round and peak bytes above what is allocated between runs, by way."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peak: dict[str, int | None] = dict.fromkeys(ways)
    for run in ways.values():
        run()
    for number in range(rounds):
        for way, run in ways.items():
            if device.type == "cuda":
                before = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
            seconds[way].append(seconds_of(run, device))
            if device.type == "cuda":
                peak[way] = max(peak[way] or 0, torch.cuda.max_memory_allocated() - before)
            tell(f"round {number + 1}/{rounds}: {way}: {seconds[way][-1]:.3f} s")
    return seconds, peak


def where_time_goes(run: Callable[[], Any], seconds: float, device: torch.device) -> dict[str, float | None]:
    """Shares of the device's time by kind of operator, and the share of `seconds` in which it had work.

    The rest of `seconds` the device waited for Python or for data. On the CPU, where operators wait for nobody, None.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as measured:
        run()
        wait(device)
    column = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    spent = dict.fromkeys(("matrix products", "attention", "copies", "other"), 0.0)
    for row in measured.key_averages():
        # Kernels have rows of their own beside those of the operators that launched them.
        if row.device_type == torch.autograd.DeviceType.CPU:
            spent[kind_of(row.key)] += getattr(row, column) / 1e6
    total = sum(spent.values())
    shares: dict[str, float | None] = {kind: round(value / total, 3) for kind, value in spent.items()}
    return shares | {"device had work": round(total / seconds, 3) if on_gpu else None}


def kind_of(operator: str) -> str:
    """The kind of a torch operator by its name."""
    if "attention" in operator:
        return "attention"
    if operator in ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"):
        return "matrix products"
    return "copies" if operator in ("aten::copy_", "aten::cat", "aten::clone", "aten::index") else "other"


def needed(shape: ModelShape, note_tokens: int, questions: Sequence[int]) -> tuple[float, float]:
    """Operations of linear maps and of attention, forward: every token sees what comes before it in its own prompt."""
    asked = sum(attention_flops(shape, size, note_tokens + size / 2) for size in questions)
    note = attention_flops(shape, note_tokens, note_tokens / 2)
    return linear_flops(shape, note_tokens + sum(questions)), note + asked


def forward_backward(tokens: int, lora: int, linear: float, attention: float) -> float:
    """Frozen weights get no gradient: their maps run twice, attention three times, LoRA's parameters three times."""
    return 2 * linear + 3 * attention + 6 * lora * tokens


def described(
    seconds: list[float], flops: float, tokens: int, notes: float, peak_flops: float | None, peak_bytes: int | None
) -> dict[str, Any]:
    """One way's figures.

    Args:
        flops, tokens, notes: of one run. notes: shares of one count.
    """
    median = statistics.median(seconds)
    return {
        "seconds_a_note": round(median / notes, 5),
        "notes_per_second": round(notes / median, 3),
        "notes_per_hour": round(3600 * notes / median),
        "tokens_per_second": round(tokens / median),
        "tflop_per_second": round(flops / median / 1e12, 4),
        "share_of_peak": round(flops / median / peak_flops, 3) if peak_flops else None,
        "peak_bytes_above_weights": peak_bytes,
        "seconds_of_rounds": [round(value, 4) for value in seconds],
    }
