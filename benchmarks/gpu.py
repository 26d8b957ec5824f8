"""Packed scoring and packed tuning on a GPU against one prompt per question and vLLM, at the shapes of Llamas.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json                   # 1B; has not been run on a GPU yet
    python benchmarks/gpu.py --shape 8b --out benchmarks/results/gpu_8b.json     # 8B; nor has this
    python benchmarks/gpu.py --shape tiny                                        # does it work? seconds, on a CPU too

Random weights in the shape of Llama 3.2 1B or Llama 3 8B, bfloat16; notes of 1,500 random words, and of 3,500, which is
the length that `concept-icd doctor` takes for a discharge summary of MIMIC-III; 150 concepts of ICD-9-CM, about as many
as MIMIC-III-50's labels have with all levels above them. So notes an hour at 3,500 tokens are MIMIC-III-50's.
It needs torch with CUDA, transformers, peft, safetensors and PyYAML; no weights, no network, no installation: in a copy
of this repository, put `PYTHONPATH=. HF_HUB_OFFLINE=1` before the command. vLLM is measured where it is installed.

Each part (scoring, tuning, vLLM) runs in a process of its own and is kept in --work when it is done. The same command
goes on after a kill. A part that fails is told, does not stop the others, and is tried again by the same command.

Scoring. Packed: many notes through `PackedScorer.iter_scores`, with several sizes of chunk and batch. A concept head:
the same notes and concepts, which it answers from one reading of the note. Their rival: one
prompt a question, right-padded batches of as many as fit, causal attention without a mask (the fastest kernels), the
answer read at each prompt's end alone. The floor: a plain causal forward pass over as many tokens as note and
questions have. Tuning: LoRA on q and v, forward and backward, over `pack_batch` against batches of prompts,
and on a GPU over FlexAttention's blocks, which are compiled before the first round. vLLM: prefix cache on, notes that
it has not read, handed over together. All ways of a part take turns, round after round, after a warm-up of each; a
figure is the median over rounds. A batch that does not fit is
halved until it does. The share of the peak counts the operations that a way cannot do without (each question sees the
note and itself; causal attention half the square), not those that it does. Memory is what torch allocated above the
weights. Where the time goes comes from one more run under torch's profiler, by operator.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import peft
import torch
from common import arguments, finish, in_a_process, minutes, parser_of, record, tell, timed
from gpu_timing import (
    PEAKS,
    described,
    forward_backward,
    largest_that_fits,
    needed,
    take_turns,
    where_time_goes,
)
from random_model import Case, build_case, plain_forward, random_head, random_model
from torch.nn.functional import binary_cross_entropy_with_logits

from concept_icd.artifacts import write_json
from concept_icd.doctor.cost_model import KNOWN, ModelShape, lora_parameters, probe
from concept_icd.doctor.machine import Device
from concept_icd.doctor.workload import NOTE_TOKENS
from concept_icd.errors import InputError
from concept_icd.llm.base_model import LoadedModel
from concept_icd.llm.concept_head import add_concept_head
from concept_icd.llm.packed_pass import packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.report.results import plain
from concept_icd.scoring.packed import PackedScorer

LORA = {"r": 32, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}  # as configs/mimic3-50.yaml
#: Of a batch of prompts: more make tensors of over 2^31 numbers, and nothing faster.
MOST_TOKENS = 2**18
PLAIN, FLOOR = "one prompt a question", "plain forward over as many tokens"
FLEX, VLLM, HEAD = "packed, FlexAttention", "vLLM, prefix cache", "concept head"
#: Share of the card's memory for vLLM's weights and cache; its process has the card for itself.
VLLM_SHARE = 0.85


@dataclass(frozen=True)
class Sizes:
    """What is run.

    Attributes:
        notes: notes scored in a round. packings: (chunk_tokens, batch_tokens) of `PackedScorer`, its own first.
        rows: notes of a packed training batch to begin with. probe_seconds: for the matrix product's speed.
    """

    shape: ModelShape
    note_tokens: tuple[int, ...]
    questions: int
    notes: int
    packings: tuple[tuple[int, int], ...]
    rows: int
    probe_seconds: float


FULL = Sizes(
    ModelShape(16, 2048, 8192, 32, 8, 64, 128256, 131072, True, "Llama 3.2 1B"),
    note_tokens=(1500, NOTE_TOKENS),
    questions=150,
    notes=32,
    packings=((512, 8192), (512, 65536), (2048, 65536), (2048, 131072)),
    rows=8,
    probe_seconds=2,
)
SMALL = Sizes(
    ModelShape(2, 64, 128, 4, 2, 16, 8192, 1024, True, "tiny"),
    note_tokens=(100, 150),
    questions=10,
    notes=3,
    packings=((64, 200), (64, 4096)),
    rows=2,
    probe_seconds=0.1,
)

SHAPES = {"1b": FULL, "8b": replace(FULL, shape=KNOWN["meta-llama/Meta-Llama-3-8B"]), "tiny": SMALL}


def score_packed(case: Case, packing: tuple[int, int]) -> dict[str, np.ndarray]:
    """Scores of all notes, by id."""
    case.scorer.chunk_tokens, case.scorer.batch_tokens = packing
    return {scores.note_id: scores.logits for scores in case.scorer.iter_scores(case.notes, case.concepts)}


def by_head(case: Case, seed: int) -> PackedScorer:
    """The same model with a concept head, which reads notes alone; its pass is the largest that packings have."""
    model, tokens = case.scorer.model, case.scorer.tokens
    keys = [concept.key for concept in case.concepts]
    head = random_head(model.config.hidden_size, keys, np.random.default_rng(seed))
    add_concept_head(model, head)
    loaded = LoadedModel(model, tokens.tokenizer, tokens.max_length, head.rows, head)
    return PackedScorer(loaded, PromptTemplate.load())


@torch.inference_mode()
def score_plain(case: Case, prompts: int) -> torch.Tensor:
    """Scores of the first note's first questions, one prompt each, in one batch."""
    return plain_margins(case.scorer.model, case, prompts)


def forward_as_long(case: Case, rows: int) -> None:
    """A causal forward pass over as many tokens as `rows` notes and their questions have."""
    plain_forward(case.scorer.model, case.prompt_tokens, rows)


def plain_margins(model: Any, case: Case, prompts: int) -> torch.Tensor:
    """logit(yes) - logit(no) at the ends of right-padded prompts; causal, so no mask is needed."""
    asked = [torch.tensor([*case.ids[0], *question]) for question in case.questions[:prompts]]
    ids = torch.nn.utils.rnn.pad_sequence(asked, batch_first=True).to(model.device)
    ends = torch.tensor([len(prompt) - 1 for prompt in asked], device=model.device)
    decoder = getattr(model, "get_base_model", lambda: model)().get_decoder()
    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[torch.arange(len(asked), device=model.device), ends]).float()
    return logits[:, case.scorer.tokens.yes_id] - logits[:, case.scorer.tokens.no_id]


def packed_step(model: Any, case: Case, rows: int, batch: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """Forward and backward over `rows` notes with all questions, as `ConceptTrainer` does it."""
    batch = batch or packed_batch(model, case, rows)
    model.zero_grad()
    with autocast(model):
        yes, no = case.scorer.tokens.yes_id, case.scorer.tokens.no_id
        margins = packed_margins(model, batch, yes, no, len(case.questions))
    loss = binary_cross_entropy_with_logits(margins.float(), answers(case, model).expand(rows, -1))
    loss.backward()
    return loss.detach()


def flex_step(model: Any, case: Case, rows: int, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same under FlexAttention; a block of the mask that nobody sees is left out."""
    base = model.get_base_model()
    base.set_attn_implementation("flex_attention")
    try:
        return packed_step(model, case, rows, batch)
    finally:
        base.set_attn_implementation("sdpa")


def packed_batch(model: Any, case: Case, rows: int) -> dict[str, torch.Tensor]:
    """The batch as the collator makes it on the CPU, carried to the device."""
    batch = pack_batch(case.ids[:rows], [case.questions] * rows, padding_id=0)
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def plain_step(model: Any, case: Case, prompts: int) -> torch.Tensor:
    """Forward and backward over one batch of prompts of the first note."""
    model.zero_grad()
    with autocast(model):
        margins = plain_margins(model, case, prompts)
    loss = binary_cross_entropy_with_logits(margins, answers(case, model)[:prompts])
    loss.backward()
    return loss.detach()


def answers(case: Case, model: Any) -> torch.Tensor:
    """Every other answer is yes."""
    return (torch.arange(len(case.questions), device=model.device) % 2).float()


def autocast(model: Any) -> Any:
    """What accelerate does under `bf16: true`; nothing in float32."""
    return torch.autocast(model.device.type, model.dtype) if model.dtype == torch.bfloat16 else nullcontext()


def measure_scoring(case: Case, sizes: Sizes, rounds: int, peak_flops: float | None) -> dict[str, Any]:
    """Packed in several sizes, one prompt a question, and the floor."""
    device, shape = case.scorer.model.device, sizes.shape
    packings = {f"packed, chunk {chunk}, batch {batch}": (chunk, batch) for chunk, batch in sizes.packings}
    prompts = largest_that_fits(partial(score_plain, case), most_prompts(case))
    rows = largest_that_fits(partial(forward_as_long, case), sizes.notes)
    runs: dict[str, Callable[[], Any]] = {name: partial(score_packed, case, size) for name, size in packings.items()}
    headed = by_head(case, 0)
    headed.batch_tokens = max(batch for _, batch in sizes.packings)
    runs[HEAD] = lambda: list(headed.iter_scores(case.notes, case.concepts))
    runs |= {PLAIN: partial(score_plain, case, prompts), FLOOR: partial(forward_as_long, case, rows)}
    seconds, peak = take_turns(runs, rounds, device)
    note, asked = len(case.ids[0]), [len(question) for question in case.questions]
    prompt = [needed(shape, note + size, []) for size in asked[:prompts]]
    work = {name: (sizes.notes * sum(needed(shape, note, asked)), sizes.notes * case.prompt_tokens, sizes.notes)
            for name in packings}  # fmt: skip
    work[HEAD] = (sizes.notes * sum(needed(shape, note, [])), sizes.notes * note, sizes.notes)
    work[PLAIN] = (sum(map(sum, prompt)), prompts * note + sum(asked[:prompts]), prompts / len(asked))
    work[FLOOR] = (rows * sum(needed(shape, case.prompt_tokens, [])), rows * case.prompt_tokens, rows)
    ways = {name: described(seconds[name], *work[name], peak_flops, peak[name]) for name in runs}
    for name in (*packings, HEAD):
        ways[name]["speed_up"] = round(ways[PLAIN]["seconds_a_note"] / ways[name]["seconds_a_note"], 1)
        ways[name]["over_floor"] = round(ways[name]["seconds_a_note"] / ways[FLOOR]["seconds_a_note"], 3)
    fastest = min(packings, key=lambda name: ways[name]["seconds_a_note"])
    for name in dict.fromkeys((next(iter(packings)), fastest)):
        ways[name]["where_time_goes"] = where_time_goes(runs[name], statistics.median(seconds[name]), device)
    packed, plain = score_packed(case, packings[fastest])[case.notes[0].note_id], runs[PLAIN]().cpu().numpy()
    return {
        **counts(case),
        "notes": sizes.notes,
        "prompts_a_batch": prompts,
        "rows_of_the_floor": rows,
        "fastest": fastest,
        "ways": ways,
        "largest_score_gap": float(np.abs(packed[:prompts] - plain).max()),
        "score_spread": float(np.ptp(packed)),
    }


def measure_tuning(model: Any, case: Case, sizes: Sizes, rounds: int, peak_flops: float | None) -> dict[str, Any]:
    """Packed training batches against batches of prompts, LoRA without dropout."""
    device, shape = model.device, sizes.shape
    rows = largest_that_fits(partial(packed_step, model, case), sizes.rows)
    prompts = largest_that_fits(partial(plain_step, model, case), most_prompts(case))
    batch = packed_batch(model, case, rows)
    runs: dict[str, Callable[[], Any]] = {
        "packed": partial(packed_step, model, case, rows, batch),
        "packed, its batch made on the CPU in the same time": partial(packed_step, model, case, rows),
        PLAIN: partial(plain_step, model, case, prompts),
    }
    if device.type == "cuda":  # FlexAttention has no backward pass on the CPU
        runs[FLEX] = partial(flex_step, model, case, rows, batch)
    seconds, peak = take_turns(runs, rounds, device)
    note, asked = len(case.ids[0]), [len(question) for question in case.questions]
    lora = lora_parameters(shape, LORA["r"], LORA["target_modules"])
    flops = forward_backward(case.prompt_tokens, lora, *needed(shape, note, asked))
    plain = sum(forward_backward(note + size, lora, *needed(shape, note + size, [])) for size in asked[:prompts])
    work = {
        name: (rows * flops, rows * case.prompt_tokens, rows) if name != PLAIN else
              (plain, prompts * note + sum(asked[:prompts]), prompts / len(asked)) for name in runs
    }  # fmt: skip
    ways = {name: described(seconds[name], *work[name], peak_flops, peak[name]) for name in runs}
    for name, figures in ways.items():
        figures["pairs_per_second"] = round(len(asked) * work[name][2] / statistics.median(seconds[name]), 2)
        if name != PLAIN:
            figures["speed_up"] = round(ways[PLAIN]["seconds_a_note"] / figures["seconds_a_note"], 1)
    median = statistics.median(seconds["packed"])
    ways["packed"]["where_time_goes"] = where_time_goes(runs["packed"], median, device)
    same = replace(case, questions=case.questions[:prompts])
    gap = float((packed_step(model, same, 1) - plain_step(model, same, prompts)).abs())
    return {**counts(case), "rows": rows, "prompts_a_batch": prompts, "ways": ways, "loss_gap": gap}


def most_prompts(case: Case) -> int:
    """How many prompts are tried first in one batch."""
    return min(len(case.questions), max(1, MOST_TOKENS // (len(case.ids[0]) + max(map(len, case.questions)))))


def counts(case: Case) -> dict[str, Any]:
    note, asked = len(case.ids[0]), sum(map(len, case.questions))
    return {
        "note_tokens": note,
        "questions": len(case.questions),
        "question_tokens_mean": round(asked / len(case.questions), 2),
        "token_ratio": round((note * len(case.questions) + asked) / (note + asked), 1),
    }


def measure_vllm(case: Case, scorer: Any, sizes: Sizes, rounds: int, peak_flops: float | None) -> dict[str, Any]:
    """vLLM's own prefix cache over the same prompts; each round has notes of its own, after one to warm up."""
    seconds = []
    for number in range(rounds + 1):
        notes = case.notes[number * sizes.notes : (number + 1) * sizes.notes]
        score = partial(scorer.iter_scores, notes, case.concepts)
        seconds.append(timed(lambda ask=score: list(ask()))[0])
        tell(f"round {number}/{rounds}: {VLLM}: {seconds[-1]:.3f} s")
    asked = [len(question) for question in case.questions]
    work = sizes.notes * sum(needed(sizes.shape, len(case.ids[0]), asked)), sizes.notes * case.prompt_tokens
    return {**counts(case), "ways": {VLLM: described(seconds[1:], *work, sizes.notes, peak_flops, None)}}


def run_part(part: str, shape: str, device: str, seed: int, rounds: int, peak: float | None) -> dict[str, Any]:
    """One part, in whatever process this is."""
    sizes, dtype = SHAPES[shape], torch.bfloat16 if device == "cuda" else torch.float32
    amounts = (sizes.questions, seed, sizes.notes)
    if part == "machine":
        card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        name_of_dtype = str(dtype).removeprefix("torch.")
        product = probe(Device(device, card, 1, 0, name_of_dtype), sizes.probe_seconds)
        peak = peak or PEAKS.get(card)
        return {
            "machine": f"{card}, {name_of_dtype}",
            "model": sizes.shape.source,
            "parameters": sizes.shape.parameters,
            "peak_tflop_per_second": peak and peak / 1e12,
            "matrix_product_tflop_per_second": round(product / 1e12, 3),
        }
    if part == "vllm":
        return {"vllm": vllm_part(sizes, seed, rounds, peak, dtype)}
    loaded = random_model(sizes.shape, seed, device, dtype)
    scorer = PackedScorer(loaded, PromptTemplate.load())
    cases = {str(tokens): build_case(scorer, tokens, *amounts) for tokens in sizes.note_tokens}
    if part == "scoring":
        found = {name: measure_scoring(case, sizes, rounds, peak) for name, case in cases.items()}
    else:
        tuned = peft.get_peft_model(loaded.model, peft.LoraConfig(**LORA)).train()
        found = {name: measure_tuning(tuned, case, sizes, rounds, peak) for name, case in cases.items()}
    return {part: found}


def vllm_part(sizes: Sizes, seed: int, rounds: int, peak: float | None, dtype: torch.dtype) -> dict[str, Any]:
    """By note length; where vLLM is not installed, nothing. The model goes through a folder, as vLLM wants it."""
    if not find_spec("vllm"):
        tell("vLLM is not installed here: left out")
        return {}
    from concept_icd.scoring.vllm import VllmScorer

    with tempfile.TemporaryDirectory() as folder:
        loaded = random_model(sizes.shape, seed, "cpu", dtype)  # the card is vLLM's alone
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        del loaded
        tokens = max(sizes.note_tokens) + 200
        scorer = VllmScorer.from_pretrained(folder, max_length=tokens, gpu_memory_utilization=VLLM_SHARE)
        amounts = (sizes.questions, seed, sizes.notes * (rounds + 1))
        cases = {str(length): build_case(scorer, length, *amounts) for length in sizes.note_tokens}
        return {name: measure_vllm(case, scorer, sizes, rounds, peak) for name, case in cases.items()}


def part_kept(part: str, args: argparse.Namespace, made_by: dict[str, Any]) -> dict[str, Any] | None:
    """A part's result: of an earlier run of the same command and commit, or measured now; None where it fails."""
    kept = args.work / f"{args.shape}-{part}.json"
    if kept.is_file() and (found := json.loads(kept.read_text()))["made_by"] == made_by:
        tell(f"{part}: kept from before")
        return dict(found["result"])
    arguments = (part, args.shape, args.device, args.seed, args.rounds, made_by["peak"])
    tell(f"{part}: begins")
    try:
        # On a GPU in a process of its own: it leaves no memory behind, and its end is not that of the others.
        result = in_a_process(run_part, *arguments) if args.device == "cuda" else run_part(*arguments)
    except (RuntimeError, OSError, ValueError, TypeError, AttributeError, ImportError, InputError) as error:
        tell(f"{part}: failed: {type(error).__name__}: {error}")
        return None
    args.work.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"made_by": made_by, "result": plain(result)})
    return dict(plain(result))


def main() -> int:
    parser = parser_of(__doc__, rounds=5, work="build/gpu")
    parser.add_argument("--shape", choices=SHAPES, default="1b", help="of the model (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda; with --shape tiny the CPU")
    parser.add_argument("--peak", type=float, help="dense bfloat16 peak in FLOP/s of a card not known here: 312e12")
    args = arguments(parser)
    args.device = args.device or ("cpu" if args.shape == "tiny" else "cuda")
    if args.device == "cuda" and not torch.cuda.is_available():
        tell("torch finds no GPU here: run this on a machine with one, or try it with --shape tiny")
        return 2
    if args.device == "cpu" and args.shape != "tiny":
        tell("such a model takes hours on the CPU: take --shape tiny")
        return 2
    card = torch.cuda.get_device_properties(0).name if args.device == "cuda" else "CPU"
    made_by = {"commit": record(args)["commit"], "seed": args.seed, "rounds": args.rounds, "device": card}
    made_by["peak"] = args.peak or PEAKS.get(card)
    found = {part: part_kept(part, args, made_by) for part in ("machine", "vllm", "scoring", "tuning")}
    result: dict[str, Any] = {"shape": args.shape, "rounds": args.rounds}
    for part in found.values():
        result |= part or {}
    failed = [part for part, what in found.items() if what is None]
    finish(args, result | {"failed": failed, "minutes": minutes()})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
