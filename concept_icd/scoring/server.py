"""The client of a running vLLM server: the same prompts, as token ids, to its OpenAI-compatible completions endpoint.

Its generative-scoring endpoint gives one probability, from which a large score cannot be read exactly, and no count of
cached tokens; so completions it is, with the log-probabilities of exactly "yes" and "no". An older server gives them
when it was started with `--logprobs-mode processed_logprobs`.

Notes go to the address that the user names and nowhere else: no proxy, no log. An API key is read from VLLM_API_KEY.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np

from concept_icd.artifacts import loads
from concept_icd.errors import InputError, did_you_mean
from concept_icd.llm.base_model import load_tokenizer
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.reference import ADAPTER_FILES, QUESTION_TOKENS, ModelReference, require_questions
from concept_icd.scoring.by_prompt import Answered, Asked, PromptScorer, margin
from concept_icd.scoring.scorer import TokensOf

#: Where `vllm serve` listens by default.
LOOPBACK = "http://127.0.0.1:8000"
#: Tries of a request, and the seconds before the second one; every further one waits twice as long.
TRIES, WAIT = 6, 1.0
#: Prompt tokens of one request, so that a request of thousands of questions stays some MB.
REQUEST_TOKENS = 2**18


class ServerScorer(PromptScorer):
    """Scores concepts of notes with a vLLM server; `from_pretrained` finds out what it serves.

    Args:
        served: the name under which the server serves the base model or the adapter.
        concurrency: requests that are under way at a time.
    """

    def __init__(self, server: Server, tokens: TokenizedPrompt, served: str, concurrency: int = 8) -> None:
        super().__init__(tokens, notes_at_once=4 * concurrency)
        self.server, self.served, self.concurrency = server, served, concurrency

    @classmethod
    def load(
        cls,
        tokens_of: TokensOf,
        model: str | Path,
        adapter: str | Path | None,
        *,
        url: str | None = None,
        served: str | None = None,
        concurrency: int = 8,
        timeout: float = 600.0,
        load_in_4bit: bool = False,
        dtype: str | None = None,
    ) -> Self:
        """Reaches the server and checks that it serves this model in these tokens.

        Args:
            model: the base model, for its tokenizer. adapter: the folder that the server was told to serve, or the
                name that it serves it by.
            url: of the server; None: the default port of this machine.
            served: the served name, where it does not follow from model and adapter.
            timeout: seconds that one request may take.
            load_in_4bit, dtype: of the tuning run; how the weights are held is the server's affair.

        Raises:
            InputError: no server there, another model or tokenizer, or an adapter that is not served.
        """
        require_questions(adapter, "a server")
        tokenizer, longest = load_tokenizer(model)
        tokens = tokens_of(tokenizer, longest)
        if adapter is not None and (Path(adapter) / QUESTION_TOKENS).is_file():
            raise InputError(f"the adapter {adapter} asks in learned question tokens, which a server does not know")
        server = Server(url or LOOPBACK, timeout)
        name, window = server.find_model(served, adapter)
        if window is not None and tokens.max_length >= window:  # the server keeps a place for the answer
            tokens = tokens_of(tokenizer, window - 1)
        server.check_tokenizer(name, tokens)
        return cls(server, tokens, name, concurrency)

    def _ask(self, asked: Sequence[Asked]) -> list[Answered]:
        """See `PromptScorer`: one request a note and round, or a few where its prompts are many."""
        requests = [list(_requests(one.prompts)) for one in asked]
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [[pool.submit(self._complete, prompts) for prompts in parts] for parts in requests]
            try:
                done = [[future.result() for future in parts] for parts in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [
            Answered(
                np.array([logit for logits, _ in parts for logit in logits], dtype=np.float32),
                sum(reused for _, reused in parts),
            )
            for parts in done
        ]

    def _complete(self, prompts: list[list[int]]) -> tuple[list[float], int]:
        """Scores of some prompts, and how many of their tokens the server had in its cache (0 if it does not say)."""
        yes, no = self.tokens.yes_id, self.tokens.no_id
        answer = self.server.request(
            "/v1/completions",
            {
                "model": self.served,
                "prompt": prompts,
                "max_tokens": 1,
                # The answer is drawn and not used: at temperature 1 processed log-probabilities are not stretched.
                "temperature": 1.0,
                "logprobs": 2,
                "logprob_token_ids": [yes, no],
                "allowed_token_ids": [yes, no],
                "return_tokens_as_token_ids": True,
            },
        )
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        try:
            found = [choice["logprobs"]["top_logprobs"][0] for choice in choices]
            logits = [margin(logprobs, f"token_id:{yes}", f"token_id:{no}") for logprobs in found]
        except (KeyError, TypeError, IndexError):
            raise InputError(
                f"the server at {self.server.url} does not give the log-probabilities of chosen tokens: start it with "
                "--logprobs-mode processed_logprobs, or update vLLM"
            ) from None
        if len(logits) != len(prompts):
            raise InputError(f"the server at {self.server.url} answered {len(logits)} of {len(prompts)} questions")
        details = (answer.get("usage") or {}).get("prompt_tokens_details") or {}
        # It tells of its last prompt alone, and only when started with --enable-prompt-tokens-details. The others of a
        # note find as much, but for the first.
        return logits, int(details.get("cached_tokens") or 0) * max(1, len(prompts) - 1)


class Server:
    """An address, and patience with it.

    Args:
        timeout: seconds that one request may take.
    """

    def __init__(self, url: str, timeout: float = 600.0) -> None:
        self.url, self.timeout = _checked_url(url), timeout
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def find_model(self, served: str | None, adapter: str | Path | None) -> tuple[str, int | None]:
        """The served name to ask for, and the tokens of the server's window."""
        models: list[dict[str, Any]] = self.request("/v1/models", tries=3)["data"]
        bases = [entry for entry in models if not entry.get("parent")]
        if served is None and adapter is None:
            served = bases[0]["id"]
        elif served is None:
            at = [entry["id"] for entry in models if entry["id"] == str(adapter) or _serves(entry, str(adapter))]
            if not at:
                raise InputError(
                    f"the server at {self.url} does not serve the adapter {adapter}: start it with --enable-lora "
                    f"--lora-modules NAME={Path(str(adapter)).resolve()}, or say by what name it serves it"
                )
            served = at[0]
        names = [entry["id"] for entry in models]
        if served not in names:
            raise InputError(f"the server at {self.url} serves no model {served!r}{did_you_mean(served, names)}")
        return served, next((entry.get("max_model_len") for entry in bases), None)

    def check_tokenizer(self, served: str, tokens: TokenizedPrompt) -> None:
        """Answers and template must be the same tokens on both sides; no note is sent for that."""
        template = tokens.template
        for text in (template.before_note + template.after_note, template.yes[0], template.no[0]):
            body = {"model": served, "prompt": text, "add_special_tokens": False}
            ours = tokens.tokenizer.encode(text, add_special_tokens=False)
            if self.request("/tokenize", body)["tokens"] != ours:
                raise InputError(
                    f"the server at {self.url} has another tokenizer than the base model named here: name the one that "
                    "it serves"
                )

    def request(self, path: str, body: Any = None, tries: int = TRIES) -> Any:
        """The JSON answer to a GET, or to a POST of `body`; patient with a server that is busy or restarts."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        reason = ""
        for number in range(tries):
            if number:
                time.sleep(WAIT * 2 ** (number - 1))
            try:
                request = urllib.request.Request(self.url + path, data, headers)
                with self._opener.open(request, timeout=self.timeout) as response:
                    return loads(response.read())
            except urllib.error.HTTPError as error:
                reason = f"it answers {error.code}"
                if error.code != 429 and error.code < 500:
                    raise InputError(f"the server at {self.url} refuses {path}: {reason}{_hint(error.code)}") from None
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
                reason = type(getattr(error, "reason", error)).__name__
        raise InputError(
            f"the server at {self.url} cannot be reached ({reason}, {tries} tries): start it, then run the same "
            "command again"
        )


def _checked_url(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"{url!r} is no address of a server: it must look like {LOOPBACK}")
    return url.rstrip("/").removesuffix("/v1")


def _serves(entry: dict[str, Any], adapter: str) -> bool:
    """Whether a served model is this adapter: the same folder, or one on this machine with the same files."""
    root = Path(entry.get("root") or "")
    if not entry.get("parent") or not (root / ADAPTER_FILES[0]).is_file() or not Path(adapter).is_dir():
        return False
    return ModelReference.of("", root).hash == ModelReference.of("", adapter).hash


def _hint(code: int) -> str:
    if code in (401, 403):
        return " (set VLLM_API_KEY)"
    return " (is it a vLLM server, and does it still serve the model?)" if code == 404 else ""


def _requests(prompts: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Consecutive prompts within `REQUEST_TOKENS` tokens; one prompt at least."""
    part: list[list[int]] = []
    size = 0
    for prompt in prompts:
        if part and size + len(prompt) > REQUEST_TOKENS:
            yield part
            part, size = [], 0
        part.append(prompt)
        size += len(prompt)
    if part:
        yield part
