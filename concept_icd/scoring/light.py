"""The light scorer: the packed scorer's arithmetic for small models, in NumPy, ready in a tenth of a second.

It answers for models like the shipped one, where loading torch takes a hundred times as long as a note. Prompt, packing
and margin are the packed scorer's; so are the scores, but for rounding. Several notes are read side by side, each on
one thread: the matrices of a small model are too small to be shared out.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.errors import InputError
from concept_icd.model_reference import resolve
from concept_icd.prompts import PromptTemplate, TokenizedPrompt, checked_note_text
from concept_icd.question_tokens import QuestionTokens
from concept_icd.scoring.promptwise import Answered, Asked, PromptScorer
from concept_icd.scoring.small_llama import SmallLlama, read_settings

#: Question tokens that go through the model at a time.
CHUNK_TOKENS = 512
#: Notes that are handed out to the threads together.
NOTES = 64


class LightScorer(PromptScorer):
    """Scores concepts of notes with a small Llama; each round of questions reads the note once.

    Args:
        learned: vectors of the learned question tokens, float32 (tokens, hidden size); their ids follow the
            vocabulary's.
    """

    def __init__(self, model: SmallLlama, tokens: TokenizedPrompt, learned: np.ndarray | None = None) -> None:
        super().__init__(tokens, NOTES)
        words = model.embedding
        self.model = model
        self._vectors = words if learned is None else np.concatenate([words, learned])
        self._margin = model.head[tokens.yes_id] - model.head[tokens.no_id]

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        adapter: str | Path | None = None,
        prompt: PromptTemplate | str | Path = "concept",
        *,
        max_length: int | None = None,
        note_text: str = "whole",
        load_in_4bit: bool | None = False,
    ) -> LightScorer:
        """Loads model, adapter and prompt.

        Raises:
            InputError: the model is none that this scorer knows (`SmallLlama`), or is to be quantised.
        """
        checked_note_text(note_text)
        folder = Path(resolve(model))
        weights = None if load_in_4bit else SmallLlama.load(folder, adapter)
        tokenizer = FileTokenizer.load(folder)
        if weights is None or tokenizer is None:
            raise InputError(
                f"the light scorer takes small Llama models as they stand, and {model} is none: use packed"
            )
        questions = QuestionTokens.load(adapter) if adapter is not None else None
        ids, learned = None, None
        if questions is not None:
            ids = questions.ids(len(weights.embedding))
            learned = questions.values.reshape(-1, questions.values.shape[2])
        template = prompt if isinstance(prompt, PromptTemplate) else PromptTemplate.load(prompt)
        longest = min(max_length or weights.window, weights.window)
        tokens = TokenizedPrompt(template, tokenizer, longest, note_text, ids)
        return cls(weights, tokens, learned)

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
        return blas, max((library["num_threads"] for library in blas.info()), default=1)

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

    def __init__(self, tokenizer: Any, eos_token: str | None) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.token_to_id(eos_token) if eos_token else None

    @classmethod
    def load(cls, folder: Path) -> FileTokenizer | None:
        """That of a model folder; None where transformers would make something else of its files."""
        from tokenizers import Tokenizer

        config = read_settings(folder / "tokenizer_config.json")
        file, eos = folder / "tokenizer.json", config.get("eos_token")
        if config.get("tokenizer_class") not in cls.AS_IT_STANDS or not file.is_file():
            return None
        return cls(Tokenizer.from_file(str(file)), eos["content"] if isinstance(eos, dict) else eos)

    def __call__(self, text: str, add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        """Ids and offsets of a text."""
        encoded = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": encoded.ids, "offset_mapping": encoded.offsets}
