"""A small decoder of the Llama family in NumPy, and the scorer on it: why the package codes notes without torch.

torch and transformers would be two thirds of what is installed, and take several seconds to import; a note takes the
tiny model some hundredths of one. This is the same arithmetic in float32 as theirs (RMSNorm, rotary positions, grouped
attention, SwiGLU; Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models"), with LoRA's matrices
added to the weights on loading. Prompt, packing and margin are the packed scorer's; so are the scores, but for
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from concept_icd.artifacts import loads
from concept_icd.errors import InputError
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.llm.reference import ADAPTER_FILES, require_questions, resolve
from concept_icd.scoring.by_prompt import Answered, Asked, PromptScorer
from concept_icd.scoring.scorer import TokensOf

#: Bytes of weights beyond which torch is worth its start.
MOST_BYTES = 2**26
#: Tokens of a note that attend at a time, which bounds the memory of a long one.
QUERIES = 512
#: Of a layer: (heads, tokens, head size) each.
KeysValues = tuple[np.ndarray, np.ndarray]
#: Settings of a model that change its arithmetic, with the one value that is known here.
_PLAIN = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}
#: The same of an adapter; what is not there is off.
_PLAIN_LORA = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "alora_invocation_tokens": None,
    "init_lora_weights": True,  # some of the others change the base model's weights
}


@dataclass(frozen=True, eq=False)
class SmallLlama:
    """The weights, float32, by their names in the file; matrices are (out, in).

    Attributes:
        heads, groups: of the queries, and of keys and values. frequencies: of the rotary positions, (head size / 2,).
        window: positions that there are.
    """

    weights: dict[str, np.ndarray]
    layers: int
    heads: int
    groups: int
    epsilon: float
    frequencies: np.ndarray
    window: int

    @classmethod
    def load(cls, folder: str | Path, adapter: str | Path | None = None) -> SmallLlama | None:
        """Reads a model folder and a LoRA adapter on it; None where it is no small model of this kind, as it stands."""
        folder = Path(folder)
        weights = folder / "model.safetensors"
        config = read_settings(folder / "config.json")
        rope = config.get("rope_parameters") or {}
        plain = all(config.get(name) == value for name, value in _PLAIN.items()) and rope.get("rope_type") == "default"
        if not plain or not weights.is_file() or weights.stat().st_size > MOST_BYTES:
            return None
        try:
            tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(weights).items()}
            if adapter is not None and not _add_adapter(tensors, Path(adapter)):
                return None
            heads = config["num_attention_heads"]
            size = config.get("head_dim") or config["hidden_size"] // heads
            frequencies = rope["rope_theta"] ** (-np.arange(0, size, 2) / size)
            return cls(
                tensors,
                config["num_hidden_layers"],
                heads,
                config["num_key_value_heads"],
                config["rms_norm_eps"],
                frequencies.astype(np.float32),
                config["max_position_embeddings"],
            )
        except (SafetensorError, KeyError, TypeError, OSError):  # bfloat16, or damaged, which the full loader can say
            return None

    @property
    def embedding(self) -> np.ndarray:
        """(vocabulary, hidden size)."""
        return self.weights["model.embed_tokens.weight"]

    @property
    def head(self) -> np.ndarray:
        """Of the LM, (vocabulary, hidden size); that of a file without one is tied to the embedding."""
        return self.weights.get("lm_head.weight", self.embedding)

    def read(self, inputs: np.ndarray) -> list[KeysValues]:
        """Reads a note: the keys and values of its tokens in every layer.

        Args:
            inputs: (tokens, hidden size), embedded.
        """
        rotation = self._rotation(np.arange(len(inputs)))
        x, found = inputs, []
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            normal = self._normal(x, prefix + "input_layernorm.weight")
            key, value = self._keys_values(normal, prefix, rotation)
            found.append((key, value))
            if layer == self.layers - 1:  # nobody asks for the note's own last states
                break
            query = self._heads_of(normal, prefix + "self_attn.q_proj", self.heads, rotation)
            mixed = np.empty_like(query)
            for start in range(0, len(x), QUERIES):
                end = min(start + QUERIES, len(x))
                scores = query[:, start:end] @ key[:, :end].swapaxes(1, 2)
                scores[:, np.arange(end) > np.arange(start, end)[:, None]] = -np.inf
                mixed[:, start:end] = _softmax(scores) @ value[:, :end]
            x = self._after_attention(x, mixed, prefix)
        return found

    def ask(self, note: list[KeysValues], inputs: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Asks questions side by side, each of which sees the note and itself, as `scoring.packing` has it.

        Args:
            note: from `read`. inputs: (tokens, hidden size), the questions one after the other, embedded.
            sizes: (questions,), tokens of each; at least one.

        Returns:
            float32 (questions, hidden size): the last hidden state of each, normalised, as the LM head takes it.
        """
        ends = np.cumsum(sizes)
        starts, places = np.repeat(ends - sizes, sizes), np.arange(ends[-1])
        steps, offsets = np.arange(sizes.max()), places - starts
        own = np.minimum(starts[:, None] + steps, places[:, None])  # (tokens, longest): its question's up to itself
        beyond = steps > offsets[:, None]
        rotation = self._rotation(note[0][0].shape[1] + offsets)
        x = inputs
        for layer, (note_key, note_value) in enumerate(note):
            prefix = f"model.layers.{layer}."
            normal = self._normal(x, prefix + "input_layernorm.weight")
            key, value = self._keys_values(normal, prefix, rotation)
            if layer == self.layers - 1:  # only the questions' last tokens are read from here on
                last = ends - 1
                x, normal, own, beyond = x[last], normal[last], own[last], beyond[last]
                rotation = (rotation[0][last], rotation[1][last])
            query = self._heads_of(normal, prefix + "self_attn.q_proj", self.heads, rotation)
            of_itself = np.einsum("hqd,hqsd->hqs", query, key[:, own])
            of_itself[:, beyond] = -np.inf
            weights = _softmax(np.concatenate([query @ note_key.swapaxes(1, 2), of_itself], axis=2))
            split = note_key.shape[1]
            mixed = weights[:, :, :split] @ note_value
            mixed += np.einsum("hqs,hqsd->hqd", weights[:, :, split:], value[:, own])
            x = self._after_attention(x, mixed, prefix)
        return self._normal(x, "model.norm.weight")

    def _rotation(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cosine and sine of rotary positions, (tokens, head size / 2) each."""
        angles = positions[:, None].astype(np.float32) * self.frequencies
        return np.cos(angles), np.sin(angles)

    def _normal(self, x: np.ndarray, name: str) -> np.ndarray:
        mean_square = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[1])
        normal: np.ndarray = x / np.sqrt(mean_square + np.float32(self.epsilon)) * self.weights[name]
        return normal

    def _heads_of(
        self, x: np.ndarray, name: str, count: int, rotation: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """A projection of each token, (count, tokens, head size), rotated by its position where one is given."""
        heads = (x @ self.weights[f"{name}.weight"].T).reshape(len(x), count, -1).swapaxes(0, 1)
        if rotation is None:
            return heads
        (cosine, sine), (first, second) = rotation, np.split(heads, 2, axis=-1)
        return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    def _keys_values(self, x: np.ndarray, prefix: str, rotation: tuple[np.ndarray, np.ndarray]) -> KeysValues:
        key = self._heads_of(x, prefix + "self_attn.k_proj", self.groups, rotation)
        value = self._heads_of(x, prefix + "self_attn.v_proj", self.groups)
        repeat = self.heads // self.groups
        # The keys wait divided by what a query would be divided by.
        return (key / np.float32(np.sqrt(key.shape[-1]))).repeat(repeat, axis=0), value.repeat(repeat, axis=0)

    def _after_attention(self, x: np.ndarray, mixed: np.ndarray, prefix: str) -> np.ndarray:
        """The rest of a layer, from what attention found: (heads, tokens, head size)."""
        x = x + mixed.swapaxes(0, 1).reshape(len(x), -1) @ self.weights[prefix + "self_attn.o_proj.weight"].T
        normal = self._normal(x, prefix + "post_attention_layernorm.weight")
        gate = normal @ self.weights[prefix + "mlp.gate_proj.weight"].T
        gate /= 1 + np.exp(-gate)
        gate *= normal @ self.weights[prefix + "mlp.up_proj.weight"].T
        return x + gate @ self.weights[prefix + "mlp.down_proj.weight"].T


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _add_adapter(weights: dict[str, np.ndarray], folder: Path) -> bool:
    """Adds a plain LoRA adapter to the weights, in place; False where it is not plain, or of another model."""
    config = read_settings(folder / ADAPTER_FILES[0])
    if any((config.get(name) or value) != value for name, value in _PLAIN_LORA.items()):
        return False
    tensors = load_file(folder / ADAPTER_FILES[1])
    scale = np.float32(config["lora_alpha"] / config["r"])
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        place = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight") + ".weight"
        down, up = tensors.pop(name), tensors.pop(name.replace(".lora_A.", ".lora_B."), None)
        if (
            up is None
            or place not in weights
            or ".layers." not in place
            or weights[place].shape != (len(up), down.shape[1])
        ):
            return False
        weights[place] += scale * (up.astype(np.float32) @ down.astype(np.float32))
    return not tensors


def read_settings(path: Path) -> dict[str, Any]:
    """The content of a file, or nothing where it cannot be read: what is wrong with it is for the full loader."""
    try:
        content = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


#: Question tokens that go through the model at a time.
CHUNK_TOKENS = 512
#: Notes that are handed out to the threads together.
NOTES = 64


class LightScorer(PromptScorer):
    """Scores concepts of notes with a small Llama; each round of questions reads the note once.

    Several notes are read side by side, each on one thread: the matrices of a small model are too small to be shared
    out.

    Args:
        learned: vectors of the learned question tokens, float32 (tokens, hidden size); their ids follow the
            vocabulary's.
        workers: notes that are read side by side; None: as many as NumPy has threads.
    """

    def __init__(
        self,
        model: SmallLlama,
        tokens: TokenizedPrompt,
        learned: np.ndarray | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(tokens, NOTES)
        self._workers = workers
        words = model.embedding
        self.model = model
        self._vectors = words if learned is None else np.concatenate([words, learned])
        self._margin = model.head[tokens.yes_id] - model.head[tokens.no_id]

    @classmethod
    def load(
        cls,
        tokens_of: TokensOf,
        model: str | Path,
        adapter: str | Path | None,
        *,
        load_in_4bit: bool | None = False,
        workers: int | None = None,
    ) -> Self:
        """See `from_pretrained`.

        Raises:
            InputError: the model is none that this scorer knows (`SmallLlama`), is to be quantised, or its adapter
                has a concept head.
        """
        require_questions(adapter, "the light scorer")
        folder = Path(resolve(model))
        weights = None if load_in_4bit else SmallLlama.load(folder, adapter)
        tokenizer = FileTokenizer.load(folder)
        if weights is None or tokenizer is None:
            raise InputError(
                f"the light scorer takes small Llama models as they stand, and {model} is none: use packed"
            )
        questions = QuestionTokens.load(adapter) if adapter is not None else None
        if questions is None:
            return cls(weights, tokens_of(tokenizer, weights.window), workers=workers)
        ids = questions.ids(len(weights.embedding))
        return cls(weights, tokens_of(tokenizer, weights.window, ids), questions.vectors, workers)

    def _ask(self, asked: Sequence[Asked]) -> list[Answered]:
        """See `PromptScorer`."""
        if len(asked) == 1:
            scores = [self._scores(asked[0])]
        else:
            blas, threads = self._blas
            with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
                scores = list(pool.map(self._scores, asked))
        reused = (len(one.note) * max(0, len(one.questions) - 1) for one in asked)
        return [Answered(*answer) for answer in zip(scores, reused, strict=True)]

    @cached_property
    def _blas(self) -> tuple[Any, int]:
        """What multiplies NumPy's matrices, whose threads can be limited, and how many it was given."""
        from threadpoolctl import ThreadpoolController  # a part of the start that one note can do without

        blas = ThreadpoolController().select(user_api="blas")
        return blas, self._workers or max((library["num_threads"] for library in blas.info()), default=1)

    def _scores(self, asked: Asked) -> np.ndarray:
        """logit(yes) - logit(no) of a note's questions, some at a time."""
        note = self.model.read(self._vectors[list(asked.note)])
        found: list[np.ndarray] = [np.empty(0, dtype=np.float32)]
        part: list[list[int]] = []
        for number, question in enumerate(asked.questions, start=1):
            part.append(question)
            if number == len(asked.questions) or sum(map(len, part)) + len(question) > CHUNK_TOKENS:
                ids = [token for question in part for token in question]
                found.append(self.model.ask(note, self._vectors[ids], np.array([*map(len, part)])) @ self._margin)
                part = []
        return np.concatenate(found)


class FileTokenizer:
    """A `tokenizer.json`, called as a tokenizer of transformers is where prompts are made."""

    #: Those of transformers that take the file as it stands; others change it on loading.
    AS_IT_STANDS = ("TokenizersBackend", "PreTrainedTokenizerFast")

    def __init__(self, tokenizer: Any, unknown: str | None) -> None:
        self._tokenizer = tokenizer
        self.unk_token_id = tokenizer.token_to_id(unknown) if unknown else None

    @classmethod
    def load(cls, folder: Path) -> FileTokenizer | None:
        """That of a model folder; None where transformers would make something else of its files."""
        from tokenizers import Tokenizer

        config = read_settings(folder / "tokenizer_config.json")
        file, unknown = folder / "tokenizer.json", config.get("unk_token")
        if config.get("tokenizer_class") not in cls.AS_IT_STANDS or not file.is_file():
            return None
        return cls(Tokenizer.from_file(str(file)), unknown["content"] if isinstance(unknown, dict) else unknown)

    def __call__(self, text: str, add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        """Ids and offsets of a text."""
        encoded = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": encoded.ids, "offset_mapping": encoded.offsets}
