"""The vLLM scorer: one prompt a question, one generated token, the note shared through vLLM's prefix cache.

vLLM keeps the keys and values of whole blocks of a prompt, so the questions of a note, handed over together, pay for
the note once (and for its last, unfilled block once a question). It is asked for the log-probabilities of exactly
"yes" and "no"; an older vLLM for those of a distribution over these two alone, whose difference is the same.
Learned question tokens go in as embeddings among the ids.

On a GPU an adapter is served beside the base. vLLM's CPU build copies an adapter's matrices for every token, which
takes eight times as long as the model alone: there it is folded into a copy of the base, unless the base is quantised.

One engine lives in a process at a time. Scorers with the same options share it, whatever their adapter; a scorer with
others starts its own in its place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from concept_icd.artifacts import hash_of
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.llm.base_model import is_out_of_memory, load_tokenizer, skeleton
from concept_icd.llm.merging import merge_adapter
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.llm.reference import (
    ADAPTER_FILES,
    ModelReference,
    require_plain_adapter,
    require_questions,
    require_safetensors,
    resolve,
)
from concept_icd.scoring.by_prompt import Answered, Asked, PromptScorer, margin
from concept_icd.scoring.scorer import TokensOf

#: Keys and values that the CPU engine may keep, in GiB.
CPU_CACHE_GIB = 2.0


class VllmScorer(PromptScorer):
    """Scores concepts of notes with vLLM's offline engine.

    Args:
        engine: options of `vllm.LLM`; scorers with equal ones share an engine.
        adapter: folder of the LoRA weights, or None. merged: they are folded into the engine's model, so that an engine
            serves one adapter.
        learned: vectors of the learned question tokens, float32 (tokens, hidden size), and the id of the first.
    """

    def __init__(
        self,
        tokens: TokenizedPrompt,
        engine: Mapping[str, Any],
        adapter: str | Path | None = None,
        *,
        merged: bool = False,
        learned: tuple[np.ndarray, int] | None = None,
        notes_at_once: int = 16,
    ) -> None:
        super().__init__(tokens, notes_at_once)
        self.learned = learned
        self.engine, self.adapter = dict(engine), adapter
        self._lora = _lora_request(adapter) if adapter is not None else None
        self._merged = merged
        self._llm()

    @classmethod
    def load(
        cls,
        tokens_of: TokensOf,
        model: str | Path,
        adapter: str | Path | None,
        *,
        dtype: str | None = None,
        load_in_4bit: bool = False,
        tensor_parallel: int = 1,
        gpu_memory_utilization: float = 0.9,
        notes_at_once: int = 16,
        merge: bool | None = None,
        **engine: Any,
    ) -> Self:
        """Checks model and adapter and starts an engine, or takes the one that runs with the same options.

        Args:
            model: a base that was quantised before (GPTQ, AWQ, ...) is taken as it is.
            dtype: by default float32 on the CPU and bfloat16 on a GPU.
            load_in_4bit: NF4 by bitsandbytes. tensor_parallel: GPUs that share the model.
            gpu_memory_utilization: share of a GPU's memory for weights and cache.
            notes_at_once: notes whose questions are handed over together.
            merge: fold the adapter into a copy of the base, which lies among the temporary files while the engine
                starts; by default on a CPU. Adapters that take turns in one engine are not merged.
            engine: further options of `vllm.LLM`.

        Raises:
            InputError: the model or the adapter is missing, one does not fit the other, or memory is short.
            MissingExtraError: vLLM is not installed.
        """
        require_questions(adapter, "vLLM")
        require_safetensors(model)
        lora = lora_options(model, adapter) if adapter is not None else {}
        questions = QuestionTokens.load(adapter) if adapter is not None else None
        learned, ids = None, None
        if questions is not None:
            first = embedding_rows(model, questions)
            ids, learned = questions.ids(first), (questions.vectors, first)
        tokens = tokens_of(*load_tokenizer(model), ids)
        vllm = _import_vllm()
        on_cpu = vllm.platforms.current_platform.is_cpu()
        if load_in_4bit and on_cpu:
            raise InputError("vLLM cannot load a model in 4 bits on the CPU: use the packed scorer, or a GPU")
        options: dict[str, Any] = {
            "model": resolve(model),
            "dtype": dtype or ("float32" if on_cpu else "bfloat16"),
            "max_model_len": tokens.max_length + 1,  # the answer; it is generated, never read
            "enable_prefix_caching": True,
            "tensor_parallel_size": tensor_parallel,
            "seed": 0,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "trust_remote_code": False,
        }
        if on_cpu:
            # The CPU caches blocks of 128 tokens by default, and compiles for a minute what runs for seconds.
            options |= {"block_size": 32, "enforce_eager": True, "max_num_seqs": 64}
            options |= {"kv_cache_memory_bytes": int(CPU_CACHE_GIB * 2**30)}
        else:
            options |= {"gpu_memory_utilization": gpu_memory_utilization}
        options |= {"quantization": "bitsandbytes"} if load_in_4bit else {"load_format": "safetensors"}
        if adapter is not None and on_cpu and _multiplies_int8(model):
            raise InputError(
                f"vLLM's CPU build serves no adapter on {model}, which multiplies in 8-bit integers: merge the adapter "
                "into the base before it is quantised (concept_icd.llm.merging), or take a base of 4-bit weights"
            )
        quantised = getattr(_config(model), "quantization_config", None) is not None
        merge = adapter is not None and not quantised and (on_cpu if merge is None else merge)
        options |= {} if merge else lora
        if learned is not None:
            options |= {"enable_prompt_embeds": True}
        if options["dtype"] != "float32":
            # The LM head in float32: two logits in bfloat16 near 14 are multiples of 1/16, and so is their difference.
            options |= {"hf_overrides": {"head_dtype": "float32"}}
        if not takes_token_ids(vllm.SamplingParams):
            options |= {"logprobs_mode": "processed_logprobs"}
        return cls(tokens, options | engine, adapter, merged=merge, learned=learned, notes_at_once=notes_at_once)

    def _llm(self) -> Any:
        return _running(self.engine, self._lora, merged=self._merged)

    def _ask(self, asked: Sequence[Asked]) -> list[Answered]:
        """See `PromptScorer`. A note's questions stand together, so that the first of them fills the cache."""
        vllm, llm = _import_vllm(), self._llm()
        yes, no = self.tokens.yes_id, self.tokens.no_id
        prompts = [self._prompt(ids) for one in asked for ids in one.prompts]
        if not prompts:
            return [Answered(np.empty(0, dtype=np.float32)) for _ in asked]
        params = sampling_params(vllm.SamplingParams, yes, no, processed="logprobs_mode" in self.engine)
        try:
            lora = None if self._merged else self._lora
            outputs = iter(llm.generate(prompts, params, use_tqdm=False, lora_request=lora))
        except Exception as error:
            close_engine()
            # A kernel that the device does not have in this precision is found out by the first prompt.
            dead = isinstance(error, NotImplementedError) or type(error).__name__ == "EngineDeadError"
            if dead or is_out_of_memory(error):
                raise _engine_error(error) from error
            raise
        answers = []
        for one in asked:
            results = [next(outputs) for _ in one.questions]
            found = [{token: entry.logprob for token, entry in r.outputs[0].logprobs[0].items()} for r in results]
            logits = np.array([margin(logprobs, yes, no) for logprobs in found], dtype=np.float32)
            answers.append(Answered(logits, sum(result.num_cached_tokens or 0 for result in results)))
        return answers

    def _prompt(self, ids: list[int]) -> Any:
        """A prompt as vLLM takes it: its ids, and vectors in the place of those beyond the vocabulary."""
        from vllm.inputs import EmbedsPrompt, TokensPrompt

        if self.learned is None:
            return TokensPrompt(prompt_token_ids=ids)
        values, first = self.learned
        found = np.array(ids)
        words = found < first
        vectors = torch.zeros(len(ids), values.shape[1], dtype=getattr(torch, self.engine["dtype"]))
        vectors[torch.from_numpy(~words)] = torch.from_numpy(values[found[~words] - first]).to(vectors.dtype)
        return EmbedsPrompt(
            prompt_embeds=vectors,
            prompt_token_ids=np.where(words, found, 0).tolist(),
            prompt_is_token_ids=words.tolist(),
        )


def takes_token_ids(params: Any) -> bool:
    """Whether this vLLM returns the log-probabilities of chosen tokens."""
    return "logprob_token_ids" in getattr(params, "__struct_fields__", ()) or hasattr(params, "logprob_token_ids")


def sampling_params(params: Any, yes: int, no: int, *, processed: bool) -> Any:
    """One generated token and the log-probabilities of the two answers.

    Args:
        processed: the engine returns log-probabilities after the choice was narrowed down to the allowed tokens
            (`logprobs_mode="processed_logprobs"`), at a temperature that does not stretch them.
    """
    if processed:
        return params(max_tokens=1, temperature=1.0, logprobs=2, allowed_token_ids=[yes, no], detokenize=False)
    return params(max_tokens=1, temperature=0.0, logprob_token_ids=[yes, no], detokenize=False)


@dataclass
class _Engine:
    key: str
    llm: Any
    adapters: set[int]


_engine: _Engine | None = None


def _running(options: Mapping[str, Any], lora: Any, *, merged: bool) -> Any:
    """The engine with these options, started in the place of another where needed, with the adapter loaded.

    Args:
        merged: the adapter is to be folded into the weights.
    """
    global _engine
    key = hash_of(
        {name: str(value) for name, value in options.items()} | ({"merged": lora.lora_name} if merged else {})
    )
    try:
        if _engine is None or _engine.key != key:
            close_engine()
            with tempfile.TemporaryDirectory(prefix="concept-icd-") as folder:
                if merged:
                    merge_adapter(options["model"], lora.lora_path, folder)
                    options = {**options, "model": folder, "tokenizer": options["model"]}
                _engine = _Engine(key, _import_vllm().LLM(**options), set())
        if lora is not None and not merged and lora.lora_int_id not in _engine.adapters:
            _engine.llm.llm_engine.add_lora(lora)
            _engine.adapters.add(lora.lora_int_id)
    except Exception as error:
        close_engine()
        raise _engine_error(error) from error
    return _engine.llm


def close_engine() -> None:
    """Stops the engine and frees its memory; a scorer that is asked again starts it anew."""
    global _engine
    if _engine is None:
        return
    _engine.llm.llm_engine.engine_core.shutdown()
    _engine = None
    from vllm.distributed import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


def _lora_request(adapter: str | Path) -> Any:
    """An adapter under a number that follows from its content, so that no cached note of another is taken for its."""
    _import_vllm()
    from vllm.lora.request import LoRARequest

    digest = ModelReference.of("", adapter).hash
    return LoRARequest(f"adapter-{digest[:16]}", int(digest[:7], 16) + 1, str(Path(adapter).resolve()))


def _import_vllm() -> Any:
    """vLLM, with its usage statistics off and its log down to errors; it logs no prompts there."""
    os.environ["VLLM_NO_USAGE_STATS"] = os.environ["DO_NOT_TRACK"] = "1"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # The token that is generated after the longest prompt is never read, so that no position beyond the window occurs.
    os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
    try:
        import vllm
        import vllm.platforms
    except ImportError as error:
        raise MissingExtraError("vllm", "vllm") from error
    if vllm.platforms.current_platform.is_cpu():
        # A process of its own takes a minute to start here, and hides what went wrong.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    return vllm


def _engine_error(error: Exception) -> InputError:
    """What went wrong in the engine, in one sentence without any text of a prompt."""
    if isinstance(error, InputError):
        return error
    text = " ".join(str(error).split())
    if is_out_of_memory(error) or "memory" in text.lower():
        advice = "raise or lower gpu_memory_utilization, read less of each note (--max-length), or use more GPUs"
        return InputError(f"vLLM is out of memory: {advice} (it says: {text.split('. ')[0][:200].rstrip('.')})")
    return InputError(f"vLLM cannot run this model: {type(error).__name__}: {text.split('. ')[0][:300].rstrip('.')}")


# Whether vLLM can serve a LoRA adapter on a base model as PEFT would, found out before an engine is started.
#
# vLLM copies an adapter's matrices into larger buffers, where those of another base may fit by accident, and it drops
# what it does not know of the LM head; hence the checks here. They read headers and a skeleton without weights.

#: What vLLM allows as the largest rank of an engine's adapters.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_PREFIX = "base_model.model."


def lora_options(model: str | Path, adapter: str | Path) -> dict[str, Any]:
    """Options of an engine that serves a LoRA adapter: its rank, rounded up to one that vLLM knows, and its layers.

    Layers that are not tuned are spared the work; and vLLM's LoRA on the input embedding cannot cope with learned
    question tokens.

    Raises:
        InputError: no adapter, one of another base model, or one that vLLM cannot serve as PEFT would.
    """
    adapter = Path(adapter)
    require_plain_adapter(adapter)
    try:
        with safe_open(adapter / ADAPTER_FILES[1], framework="pt") as content:
            shapes = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{adapter / ADAPTER_FILES[1]} is damaged: tune the adapter again") from error
    if any("lm_head" in name for name in shapes):
        raise InputError(f"the adapter {adapter} tunes the LM head, which scorers do not share; tune other modules")
    layers = _sizes(model)
    for name, shape in shapes.items():
        place, _, matrix = name.removeprefix(_PREFIX).rpartition(".lora_")
        if matrix not in ("A.weight", "B.weight") or len(shape) != 2:
            raise InputError(f"the adapter {adapter} has {name}, which vLLM does not serve; use the packed scorer")
        inward = matrix == "A.weight"
        if place not in layers or shape[1 if inward else 0] != layers[place][0 if inward else 1]:
            raise InputError(
                f"the adapter {adapter} does not fit the base model {str(model)!r}: {place} is not there, or has "
                "another size"
            )
    rank = max((shape[0] for name, shape in shapes.items() if name.endswith("A.weight")), default=1)
    if rank > _RANKS[-1]:
        raise InputError(f"the adapter {adapter} has rank {rank}; vLLM serves ranks up to {_RANKS[-1]}")
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": next(known for known in _RANKS if known >= rank),
        "lora_target_modules": sorted({name.rpartition(".lora_")[0].rpartition(".")[2] for name in shapes}),
    }


def embedding_rows(model: str | Path, questions: QuestionTokens) -> int:
    """Rows of the base model's input embedding; learned question tokens have the ids from there on.

    Raises:
        InputError: they have another hidden size.
    """
    words = skeleton(model).get_input_embeddings()
    if questions.values.shape[2] != words.embedding_dim:
        raise InputError(
            f"the learned question tokens have {questions.values.shape[2]} dimensions, the base model "
            f"{words.embedding_dim}: name the base model that they were tuned with"
        )
    return int(words.num_embeddings)


def _sizes(model: str | Path) -> dict[str, tuple[int, int]]:
    """Name of a linear layer of the base model -> its sizes (in, out)."""
    return {
        name: (layer.in_features, layer.out_features)
        for name, layer in skeleton(model).named_modules()
        if isinstance(layer, torch.nn.Linear)
    }


def _config(model: str | Path) -> Any:
    import transformers

    return transformers.AutoConfig.from_pretrained(resolve(model), trust_remote_code=False)


def _multiplies_int8(model: str | Path) -> bool:
    """Whether a base's activations are quantised too ("w8a8" of compressed-tensors)."""
    settings = getattr(_config(model), "quantization_config", None) or {}
    return bool(settings.get("format") == "int-quantized")
