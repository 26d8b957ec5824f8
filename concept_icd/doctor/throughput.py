"""How many floating-point operations a second a model gets here, or on a named card."""

from __future__ import annotations

import time
from dataclasses import dataclass

from concept_icd.doctor.machine import Device

#: Share of a card's peak that packed scoring and tuning of an 8B model are taken to reach: an assumption.
SHARE_OF_PEAK = 0.4
#: Share of a square matrix product's speed that they reach. CPU: 0.81 to 0.91 in the committed benchmarks (packed
#: scoring and packed tuning, 2 threads) against 203 GFLOP/s of the probe on the same machine. GPU: an assumption, as
#: none was at hand; the peak share above with a product at 80 % of the peak.
SHARE_OF_PROBE = {"cpu": 0.8, "cuda": 0.5}
#: Packed scoring takes this much longer than one plain forward pass over as many tokens, in the worse of the two
#: benchmarked cases (benchmarks/results/packed_scoring.json).
PACKED_OVER_PLAIN = 1.055


@dataclass(frozen=True)
class Speed:
    """Operations a second that a run gets, and where the number comes from."""

    flops: float
    source: str


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: dense bfloat16 peak with float32 sums (FLOP/s), and memory (bytes)."""

    title: str
    peak: float
    memory: float

    @property
    def speed(self) -> Speed:
        """The stated share of the peak."""
        source = f"{SHARE_OF_PEAK:.0%} of {self.title}'s peak of {self.peak / 1e12:.0f} TFLOP/s"
        return Speed(SHARE_OF_PEAK * self.peak, source)


#: From NVIDIA's data sheets, without sparsity.
CARDS = {
    "a100": Card("A100 80 GB", 312e12, 80e9),
    "h100": Card("H100 80 GB", 989e12, 80e9),
    "rtx4090": Card("RTX 4090 24 GB", 165e12, 24e9),
}


def measured_speed(device: Device, seconds: float = 2.0) -> Speed:
    """The stated share of a square matrix product, timed for about `seconds` in the device's dtype."""
    product = probe(device, seconds)
    share = SHARE_OF_PROBE[device.kind]
    source = f"{share:.0%} of {product / 1e12:.3g} TFLOP/s, a matrix product in {device.dtype} measured now"
    return Speed(share * product, source)


def probe(device: Device, seconds: float) -> float:
    """Operations a second of square matrix products: 2 n^3 each."""
    import torch

    size = 1024 if device.kind == "cpu" else 8192
    left = torch.rand((size, size), device=device.kind).to(getattr(torch, device.dtype))

    def wait() -> None:
        if device.kind == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        left @ left
    wait()
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        left @ left
        wait()
        count += 1
    return 2 * size**3 * count / passed
