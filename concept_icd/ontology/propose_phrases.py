"""Phrases proposed by a local causal LM, through `prompts/propose_phrases.yaml`. Nothing leaves the machine.

It knows how to ask and how to read an answer; whether a phrase is any good, `coverage` and a reader must say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.errors import InputError
from concept_icd.ontology.phrases import phrase_key
from concept_icd.ontology.tree import Ontology
from concept_icd.progress import track
from concept_icd.resources import read_yaml

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_WORDS = 6
_BLANKS = ("{title}", "{path}", "{count}")
_BULLET = re.compile(r"^\s*(?:[-*•·–—]+|\(?\d{1,2}[.):]|\(?[a-h][.)])\s*")
#: Lines that talk to the user instead of naming a phrase.
_CHATTER = re.compile(
    r"(?i)^(sure|here (are|is)|of course|certainly|okay|ok|note|answer|phrases?|i (am|can|will|hope)|as an|"
    r"the following|please|let me|these|in summary|example)\b"
)


def propose_phrases(
    codes: Iterable[str],
    ontology: Ontology,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    count: int = 7,
    prompt: str | Path = "propose_phrases",
    max_new_tokens: int = 160,
    batch_size: int = 8,
) -> dict[str, list[str]]:
    """Asks `model` for up to `count` phrases a code, greedily, so that the same model gives the same phrases.

    Args:
        codes: codes or inner nodes; retired ones are asked about by their nearest ancestor's title.
        model: any causal LM of transformers. tokenizer: its own; a chat template is used where it has one.
        prompt: a shipped template's name, or a YAML file.

    Returns:
        code -> phrases as `parse_phrases` reads them; an empty list where the answer held none.
    """
    import torch

    template, asked = load_proposal_prompt(prompt), list(codes)
    texts = [_ask(template, ontology, code, count, tokenizer) for code in asked]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"  # so that every answer begins right after its prompt
    batches = [range(start, min(start + batch_size, len(asked))) for start in range(0, len(asked), batch_size)]
    proposed: dict[str, list[str]] = {}
    for batch in track(batches, len(batches), "asking for phrases", "batches"):
        inputs = tokenizer(
            [texts[row] for row in batch],
            return_tensors="pt",
            padding=True,
            return_token_type_ids=False,
            add_special_tokens=not tokenizer.chat_template,  # a chat template writes its own
        )
        with torch.inference_mode():
            output = model.generate(
                **inputs.to(model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        answers = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for row, answer in zip(batch, answers, strict=True):
            title = ontology.resolve(asked[row]).title
            proposed[asked[row]] = parse_phrases(answer, count, known=[title])
    return proposed


def parse_phrases(answer: str, count: int, known: Sequence[str] = ()) -> list[str]:
    """The phrases of a model's answer: one a line, bulleted, numbered or separated by commas or semicolons.

    Left out: lines that talk to the reader, what has no word of three letters or more than `MAX_WORDS` words, and what
    repeats a phrase before it or one of `known` in case, plural or punctuation.
    """
    seen = {phrase_key(text) for text in known}
    phrases: list[str] = []
    for line in re.sub(r"</?\w+>|```\w*|\*\*|\ufffd", "", answer).splitlines():
        text = _BULLET.sub("", line).strip()
        if not text or text.endswith(":") or _CHATTER.match(text):
            continue
        # Commas part phrases only where a line is a list; "pneumonia, unspecified" alone on its line is one phrase.
        parts = re.split(r"\s*[;,|]\s*", text) if text.count(",") > 1 or re.search("[;|]", text) else [text]
        for part in parts:
            phrase = _BULLET.sub("", part).strip(" .,:;\"'“”`[]{}")
            key = phrase_key(phrase)
            if key in seen or not re.search(r"[^\W\d_]{3}", phrase) or len(phrase.split()) > MAX_WORDS:
                continue
            seen.add(key)
            phrases.append(" ".join(phrase.split()))
    return phrases[:count]


def load_proposal_prompt(name_or_path: str | Path) -> str:
    """The words of a proposal prompt, checked to hold each of {title}, {path} and {count}.

    Raises:
        InputError: no such file, no YAML, another key than `name` and `prompt`, or a blank that is missing.
    """
    path, content = read_yaml("prompts", name_or_path)
    if not isinstance(content, dict) or set(content) != {"name", "prompt"} or not isinstance(content["prompt"], str):
        raise InputError(f"prompt {path} must have the keys name and prompt, both strings, and no other")
    for blank in _BLANKS:
        if blank not in content["prompt"]:
            raise InputError(f"prompt {path} lacks {blank}")
    return content["prompt"]


def _ask(template: str, ontology: Ontology, code: str, count: int, tokenizer: Any) -> str:
    node = ontology.resolve(code)
    path = " > ".join(ontology.title(step) for step in ontology.ancestors(node.code))
    text = template
    for blank, value in zip(_BLANKS, (node.title, path or node.title, str(count)), strict=True):
        text = text.replace(blank, value)
    if not tokenizer.chat_template:
        return text
    message = [{"role": "user", "content": text.strip()}]
    return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
