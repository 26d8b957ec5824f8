"""Whether a loaded model answers packed questions as it answers plain prompts: what packing takes for granted.

It does where its layers mix tokens by attention alone, under the masks and at the positions that they are given. It
does not where they carry a state along the sequence (linear attention, Mamba, RWKV) or convolve over it, count
distances themselves (ALiBi), or see what comes after. No list of names could say which is which, so made-up questions
about a made-up note are asked both ways, before any work is done.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from concept_icd.errors import InputError
from concept_icd.llm.base_model import WHAT_FITS, is_out_of_memory
from concept_icd.llm.packed_pass import accept_packing
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import TokenizedPrompt

#: Largest gap (root mean square over logits) of a question to its plain prompt, in units of the logits' spread over the
#: vocabulary. In float32 it is the contract of all scorers; the other two keep 11 and 8 bits of each hidden state. The
#: tiny model differs by 4e-7, .001 and .012, random ones of 32 layers by up to 3e-6, .006 and .05, SmolLM2-135M with a
#: tuned adapter by .16 in bfloat16. That could hide what is wrong with a kind of model, so its kind is also checked in
#: float32.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.0125, torch.bfloat16: 0.5}
#: Names in configurations of how far a layer sees, in tokens; the longest of them that is tried.
_WINDOWS, _LONGEST_WINDOW = ("sliding_window", "window_size", "attention_chunk_size"), 512
#: Words of a small random model.
_WORDS = 512
#: Tokens whose logits are compared, beside the answers.
_COMPARED = 62
_NOTE = "History of fever and cough for three days. No chest pain. Impression: pneumonia of the right lower lobe. "
_QUESTIONS = (" Is it asthma?", " Does the patient have a fever, or had one before?", " Cough?", " Is it a fracture?")

#: Notes (token ids) and rows of questions (token ids) -> the margin of every question, an array a note.
Ask = Callable[[Sequence[list[int]], Sequence[Sequence[list[int]]]], list[np.ndarray]]


def check_packing(model: Any, tokens: TokenizedPrompt, max_length: int, ask: Ask) -> None:
    """Asks a model plain prompts, a training batch and, as a packed scorer does, `ask`; fast, whatever the model.

    Args:
        max_length: of a prompt, in tokens.

    Raises:
        InputError: the answers differ, or the model cannot take a packed sequence at all.
    """
    notes, questions = _made_up(tokens, max_length, _window(model))
    # In their first evaluation on some CPUs, bitsandbytes' layers turn their weights into what cannot be trained; and
    # its kernels multiply in bfloat16 there, whatever the dtype.
    quantised = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    coarse = torch.bfloat16 if quantised else None
    if (coarse or _dtype(model)) == torch.bfloat16:
        check_kind(model.config)
    for module in quantised:
        module.train()
    try:
        _require_same(model, notes, questions, (tokens.yes_id, tokens.no_id), ask, coarse)
    finally:
        for module in quantised:
            module.eval()


def check_kind(config: Any) -> None:
    """Asks a small random model of a kind the same, before the weights of a large one are there.

    It has one layer of every sort that the configuration names, of the true widths, and few words.

    Raises:
        InputError: as `check_packing`, or transformers has no causal language model of this kind.
    """
    import transformers

    small = copy.deepcopy(config.get_text_config())
    sorts = list(dict.fromkeys(vars(small).get("layer_types") or ()))
    small.num_hidden_layers = min(small.num_hidden_layers, len(sorts) or 2)
    if sorts:
        small.layer_types = sorts
    small.vocab_size, small.quantization_config = _WORDS, None
    small.bos_token_id = small.eos_token_id = small.pad_token_id = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model = transformers.AutoModelForCausalLM.from_config(small, dtype=torch.float32).eval()
        except ValueError as error:
            raise InputError(f"a model of the kind {config.model_type} is no causal one: {WHAT_FITS}") from error
        words = torch.randint(1, _WORDS, (max(100, _window(model) + 8),)).tolist()
    _require_same(model, [words, words[:50]], [words[5:10], words[20:30], words[40:43]], (1, 2))


def _require_same(
    model: Any,
    notes: list[list[int]],
    questions: list[list[int]],
    answers: tuple[int, int],
    ask: Ask | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Refuses a model whose packed answers differ from the plain ones by more than rounding in `dtype`."""
    try:
        gap = _gap(model, notes, questions, answers, ask)
    except Exception as error:  # whatever a model that was made for other things trips over
        if is_out_of_memory(error):
            raise
        raise _refusal(model, f"it fails on a packed sequence, {type(error).__name__}") from error
    if not gap <= TOLERANCE.get(dtype or _dtype(model), TOLERANCE[torch.bfloat16]):
        raise _refusal(model, f"they get other answers than plain prompts, by {gap:.2g} of the logits' spread")


def _dtype(model: Any) -> torch.dtype:
    """What the model computes in; `model.dtype` may be that of learned question tokens, float32 in any model."""
    head = model.get_output_embeddings()
    dtype: torch.dtype = model.dtype if head is None else head.weight.dtype
    return dtype


@torch.inference_mode()
def _gap(
    model: Any, notes: list[list[int]], questions: list[list[int]], answers: tuple[int, int], ask: Ask | None
) -> float:
    """Largest gap of packed answers to plain ones over their spread; in float32, no spread below 1 counts."""
    window = _window(model)
    accept_packing(model)
    size = model.get_output_embeddings().weight.shape[0]
    compared = (*answers, *range(0, size, max(1, size // _COMPARED)))
    expected, found = [], []
    for note in notes:
        prompts = (torch.tensor([note + question], device=model.device) for question in questions)
        heads = (model(input_ids=ids, use_cache=False, answers=compared).logits[0, -1] for ids in prompts)
        plain, repeated = torch.stack(list(heads)), _repeated(window, questions)
        batch = {name: part.to(model.device) for name, part in pack_batch([note], [repeated], 0).items()}
        packed = model(**batch, use_cache=False, answers=compared).logits
        expected.append(plain.repeat(len(repeated) // len(questions), 1))
        found.append(packed[0, -len(repeated) :])
    want, got = torch.cat(expected), torch.cat(found)
    spread = float(want.std(dim=1).mean())
    unit = max(spread, 1.0) if _dtype(model) == torch.float32 else spread
    gaps = (got - want).square().mean(dim=1).sqrt().tolist()
    if ask is not None:
        scores = torch.from_numpy(np.concatenate(ask(notes, [repeated]))).to(want)
        apart = scores - (want[:, 0] - want[:, 1])
        gaps.append(float(apart.square().mean().sqrt()) / 2**0.5)
    return float(np.max(gaps)) / unit


def _made_up(prompt: TokenizedPrompt, max_length: int, window: int) -> tuple[list[list[int]], list[list[int]]]:
    """Tokens of a note that is longer than the model's windows, of a shorter one, and of questions."""
    tokenizer = prompt.tokenizer
    questions = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in _QUESTIONS]
    room = max(2, max_length - max(map(len, questions)))
    note = list(tokenizer(_NOTE, add_special_tokens=False)["input_ids"])
    length = min(room, max(len(note), window + 8))
    long = (note * (length // len(note) + 1))[:length]
    return [long, long[: len(note) // 2]], questions


def _repeated(window: int, questions: list[list[int]]) -> list[list[int]]:
    """The questions often enough that the last of them stands further from the note than a window reaches."""
    return questions * (window // sum(map(len, questions)) + 2)


def _window(model: Any) -> int:
    """How far the model's layers see; 0 where they see everything, or further than can be tried here."""
    config = model.config.get_text_config()
    reach = [size for name in _WINDOWS if isinstance(size := getattr(config, name, None), int)]
    return min((size for size in reach if size <= _LONGEST_WINDOW), default=0)


def _refusal(model: Any, reason: str) -> InputError:
    kind = model.config.model_type
    return InputError(f"a model of the kind {kind} cannot be asked packed questions ({reason}): {WHAT_FITS}")
