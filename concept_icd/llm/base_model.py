"""Loading a base model and its adapter: any Hugging Face causal LM by name, folder or GGUF file, or the shipped "tiny".

Nothing is downloaded unless the name is one of a model hub, or "smollm2-135m"; no remote code runs; weights are
safetensors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from concept_icd.errors import InputError, extras
from concept_icd.llm.concept_head import ConceptHead, add_concept_head
from concept_icd.llm.packed_pass import accept_packing
from concept_icd.llm.question_embedding import add_question_tokens
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.llm.reference import TINY, require_plain_adapter, require_safetensors, resolve

#: The kinds of models that can be asked packed questions, for a sentence that refuses another.
WHAT_FITS = (
    "take a decoder whose layers all attend under the masks and positions that transformers gives them, such as Llama, "
    "Mistral, Qwen2, Qwen3, Gemma, Phi or OLMo; none with linear attention, convolutions, recurrent layers or ALiBi"
)

#: For every loader of transformers: it would ask on the terminal, where a folder brings code of its own.
INERT: dict[str, Any] = {"trust_remote_code": False}
#: What loaders raise for files that are missing, damaged or of another kind.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RecursionError, SafetensorError)


@dataclass(frozen=True)
class LoadedModel:
    """A causal LM in evaluation mode, its tokenizer and the most tokens that a prompt may have.

    The model takes packed passes too (`concept_icd.llm.packed_pass.accept_packing`).

    Attributes:
        questions: key of a concept -> ids of its learned question tokens, or its row of the head; None: questions are
            words.
        head: answers all concepts from one reading of the note; None: questions are asked.
    """

    model: Any
    tokenizer: Any
    max_length: int
    questions: Mapping[str, tuple[int, ...]] | None = None
    head: ConceptHead | None = None


def load_model(
    name: str | Path,
    adapter: str | Path | None = None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    load_in_4bit: bool = False,
    merge: bool = True,
    attention: str | None = None,
) -> LoadedModel:
    """Loads a base model and, where given, the LoRA adapter on it.

    Args:
        name: "tiny", "smollm2-135m", a folder, a GGUF file, or a hub name.
        adapter: a folder with adapter_config.json, and with the learned question tokens or the concept head where it
            was tuned with such.
        dtype: "float32", "bfloat16", "float16"; by default float32 on the CPU and bfloat16 on a GPU.
        device: "cpu", "cuda", ...; by default a GPU where there is one.
        load_in_4bit: NF4 with double quantisation (bitsandbytes), as in QLoRA.
        merge: fold the adapter into the weights of a base that is not quantised, neither here nor before, which saves
            time and changes nothing but rounding.
        attention: transformers' name of the kernels; by default those that it chooses. "flex_attention" leaves out the
            blocks of a packed sequence that nobody sees, and wants a GPU for training.

    Raises:
        InputError: the model or the adapter is missing, damaged, or one does not fit the other.
    """
    import transformers

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot use the device {device!r}: {_first_sentence(error)}") from error
    kind = getattr(torch, dtype or ("float32" if device == "cpu" else "bfloat16"))
    require_safetensors(name)
    options: dict[str, Any] = {"dtype": kind, "use_safetensors": True, "attn_implementation": attention}
    if load_in_4bit:
        options |= {"quantization_config": quantization(kind), "device_map": device}
    path = resolve(name)
    try:
        with bar_on_terminal(path):
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **INERT)
            model = transformers.AutoModelForCausalLM.from_pretrained(path, **options, **INERT)
    except UNREADABLE as error:
        if "Unrecognized configuration class" in str(error):
            raise InputError(f"the base model {str(name)!r} is no causal language model: {WHAT_FITS}") from error
        raise InputError(f"cannot load the base model {str(name)!r}: {_first_sentence(error)}") from error
    accept_packing(model)
    if adapter is not None:
        quantised = getattr(model.config, "quantization_config", None) is not None
        model = with_adapter(model, name, adapter)
        model = model.merge_and_unload() if merge and not quantised else model
    questions = None
    if adapter is not None and (tokens := QuestionTokens.load(adapter)) is not None:
        questions = tokens.ids(add_question_tokens(model, tokens).first)
    head = ConceptHead.load(adapter) if adapter is not None else None
    if head is not None:
        add_concept_head(model, head)
        questions = head.rows
    if not load_in_4bit:
        model = model.to(device)
    return LoadedModel(model.eval(), tokenizer, _max_length(model.config), questions, head)


def load_tokenizer(name: str | Path) -> tuple[Any, int]:
    """A base model's tokenizer and the most tokens that a prompt may have, for scorers that load the model elsewhere.

    Raises:
        InputError: no such model.
    """
    import transformers

    path = resolve(name)
    try:
        config = transformers.AutoConfig.from_pretrained(path, **INERT)
        return transformers.AutoTokenizer.from_pretrained(path, **INERT), _max_length(config)
    except UNREADABLE as error:
        raise InputError(f"cannot load the base model {str(name)!r}: {_first_sentence(error)}") from error


def skeleton(name: str | Path) -> Any:
    """The base model without weights: its sizes, on no device.

    Raises:
        InputError: no such model.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(resolve(name), **INERT)
        config.quantization_config = None  # sizes are wanted, not weights
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config)
    except UNREADABLE as error:
        raise InputError(f"cannot load the base model {str(name)!r}: {_first_sentence(error)}") from error


def quantization(compute_dtype: torch.dtype) -> Any:
    """The QLoRA setting of the CEC release: 4-bit NF4, double quantisation."""
    with extras():
        import bitsandbytes  # noqa: F401
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


@contextmanager
def bar_on_terminal(path: str) -> Iterator[None]:
    """Leaves transformers its progress bar on a terminal, where it shows something: not for the tiny model."""
    from transformers.utils import logging

    silence = logging.is_progress_bar_enabled() and (path == str(TINY) or not sys.stderr.isatty())
    if silence:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if silence:
            logging.enable_progress_bar()


def with_adapter(model: Any, name: str | Path, adapter: str | Path, *, learns: bool = False) -> Any:
    """A base model with a LoRA adapter on it, as PEFT's model.

    Args:
        name: of the base model, for messages. learns: the adapter's weights are to be trained.

    Raises:
        InputError: the adapter is none, does not fit the model, or the model is quantised in a way that PEFT does not
            know.
    """
    import peft

    require_plain_adapter(adapter)
    try:
        tuned = peft.PeftModel.from_pretrained(model, str(adapter), use_safetensors=True, is_trainable=learns)
    except AttributeError as error:
        if getattr(model.config, "quantization_config", None) is None:
            raise
        raise InputError(
            f"the base model {str(name)!r} is quantised in a way that takes no adapter here: score with vLLM, or take "
            "the base as it was, with --load-in-4bit if memory is short"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            f"the adapter {adapter} does not fit the base model {str(name)!r}: {_first_sentence(error)}"
        ) from error
    if isinstance(tuned.get_output_embeddings(), peft.tuners.tuners_utils.BaseTunerLayer):
        raise InputError(f"the adapter {adapter} tunes the LM head, which scorers do not share; tune other modules")
    return tuned


def _max_length(config: Any) -> int:
    """Positions of the model: windows of some of its layers are the model's own affair and cut nothing.

    Rotary positions of the kind "longrope" (Phi 3.5 and 4 mini) turn otherwise as soon as a prompt is longer than a
    length of their own. Up to that alone is what is cached of a note the same for all questions.
    """
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return sys.maxsize  # such as models with a state, which no packed scorer takes
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        positions = min(positions, rope["original_max_position_embeddings"])
    return positions


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(". ")[0][:300].rstrip(".")


# How running out of memory looks, on a GPU and on the CPU.

#: What torch's allocator for the CPU says, on Linux and elsewhere; oneDNN and C++ have words of their own.
_SENTENCES = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "could not create a memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch raises a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sentence in str(error) for sentence in _SENTENCES)
