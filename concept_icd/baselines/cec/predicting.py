"""The test path of CEC: notes in, answers of stage 1, scores of stage 2. No gold code can come in: a `Note` has none.

A model writes two tokens after a prompt, greedily, and its answer is read from them. Each note's line is appended when
it is done, so that a killed run goes on with the next note.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from concept_icd.baselines.cec.prompts import CodePrompt, all_phrases, read_sections
from concept_icd.baselines.corpus import require_text
from concept_icd.llm.base_model import LoadedModel
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.outputs import new_file, writing
from concept_icd.progress import progress_bar
from concept_icd.records import Note, require_notes

#: Of stage 2's prompts at test: phrases of the code, and phrases that stage 1 did not find in the note.
OWN, NOT_FOUND = 6, 2
#: Tokens that are written after a prompt.
WRITTEN = 2
#: Spellings that stage 2 takes for a yes.
YES = ("Yes", "yes", "YES")

#: (token, its log-probability over the vocabulary), in the order of writing.
Written = list[tuple[int, float]]


def answer_phrases(
    notes: Iterable[Note],
    phrases: Sequence[str],
    model: LoadedModel,
    prompt: TokenizedPrompt,
    out: Path,
    batch_size: int,
) -> None:
    """Stage 1: asks every phrase of every note; `out` gets the phrases that were answered yes, a line a note.

    Raises:
        InputError: an empty note, or no room for it. TypeError: something that is not a `Note`.
    """
    questions = [prompt.encode_question(phrase) for phrase in phrases]
    longest = max(map(len, questions))

    def one(note: Note) -> dict[str, Any]:
        encoded = prompt.encode_note(read_sections(note), longest + 1)
        written = write(model.model, encoded.ids, questions, batch_size)
        yes = [p for p, said in zip(phrases, written, strict=True) if says_yes(said, model.tokenizer)]
        return {"note_id": note.note_id, "yes": yes, "truncated": encoded.truncated}

    _each(notes, one, out, f"asking {len(phrases)} phrases")


def score_codes(
    notes: Iterable[Note],
    answered: Mapping[str, frozenset[str]],
    phrases: Mapping[str, Sequence[str]],
    titles: Mapping[str, str],
    words: CodePrompt,
    model: LoadedModel,
    max_length: int,
    out: Path,
    *,
    seed: int,
    batch_size: int,
) -> None:
    """Stage 2: the score of every label for every note, in the order of `titles`; a line a note.

    Args:
        answered: note id -> the phrases that stage 1 answered yes. phrases: label -> phrases of both kinds.
        titles: label -> official title. seed: of the phrases that are shown.
    """
    prompt = words.tokenized(model.tokenizer, max_length)

    def one(note: Note) -> dict[str, Any]:
        scores, truncated = dict[str, float](), None
        by_note: dict[tuple[int, ...], list[tuple[str, list[int]]]] = {}  # what is read of the note -> its questions
        for label, title in titles.items():
            draws = random.Random(f"{seed} {note.note_id} {label}")  # a run that goes on shows the same phrases
            shown = shown_phrases(label, phrases, answered[note.note_id], draws)
            question = prompt.encode_question(words.text_after_note(title, shown))
            encoded = prompt.encode_note(note, len(question) + 1)
            by_note.setdefault(encoded.ids, []).append((label, question))
            truncated = truncated or encoded.truncated
        for ids, asked in by_note.items():
            written = write(model.model, ids, [question for _, question in asked], batch_size)
            for (label, _), said in zip(asked, written, strict=True):
                scores[label] = yes_probability(said, model.tokenizer)
        return {"note_id": note.note_id, "scores": [scores[label] for label in titles], "truncated": truncated}

    _each(notes, one, out, f"asking {len(titles)} codes")


def shown_phrases(
    label: str, phrases: Mapping[str, Sequence[str]], answered: frozenset[str], draws: random.Random
) -> list[tuple[str, bool]]:
    """Six phrases of the label and two that were not found in the note, shuffled, with their answers of stage 1."""
    own = draws.sample(list(phrases[label]), min(OWN, len(phrases[label])))
    missing = [phrase for phrase in all_phrases(phrases) if phrase not in answered]
    shown = own + draws.sample(missing, min(NOT_FOUND, len(missing)))
    draws.shuffle(shown)
    return [(phrase, phrase in answered) for phrase in shown]


@torch.inference_mode()
def write(model: Any, note: Sequence[int], questions: Sequence[Sequence[int]], batch_size: int) -> list[Written]:
    """What the model writes after note + question, for each question; the note is read once.

    Questions of one length go together, so that nothing is padded. Writing ends with the end-of-text token.

    Args:
        model: a causal LM. note, questions: ids.
    """
    from transformers import DynamicCache

    read = DynamicCache(config=model.config)
    model(input_ids=torch.tensor([note], device=model.device), past_key_values=read, use_cache=True, logits_to_keep=1)
    by_length: dict[int, list[int]] = {}
    for number, question in enumerate(questions):
        by_length.setdefault(len(question), []).append(number)
    written: list[Written] = [[] for _ in questions]
    for numbers in by_length.values():
        for start in range(0, len(numbers), batch_size):
            part = numbers[start : start + batch_size]
            cache = copy.deepcopy(read)
            cache.batch_repeat_interleave(len(part))
            ids = torch.tensor([list(questions[number]) for number in part], device=model.device)
            for _ in range(WRITTEN):
                logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
                values, tokens = logits.float().log_softmax(dim=-1).max(dim=-1)
                for number, token, value in zip(part, tokens.tolist(), values.tolist(), strict=True):
                    if not ended(written[number], model.generation_config.eos_token_id):
                        written[number].append((token, value))
                ids = tokens[:, None]
    return written


def ended(written: Written, end: int | list[int] | None) -> bool:
    """Whether the last token written ends a text."""
    ends = end if isinstance(end, list) else [end]
    return bool(written) and written[-1][0] in ends


def says_yes(written: Written, tokenizer: Any) -> bool:
    """Stage 1: whether the text that was written holds "yes", in any case."""
    return "yes" in tokenizer.decode([token for token, _ in written], skip_special_tokens=True).lower()


def yes_probability(written: Written, tokenizer: Any) -> float:
    """Stage 2: the probability of the Yes that was written, the greater of two; 0 where none was."""
    found = [value for token, value in written if tokenizer.decode([token]).strip() in YES]
    return math.exp(max(found)) if found else 0.0


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Note id -> what was found of it; a last line that a kill cut short goes away."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        with new_file(path) as staging:
            staging.write_text(whole, encoding="utf-8")
    return {line["note_id"]: line for line in map(json.loads, whole.splitlines())}


def _each(notes: Iterable[Note], work: Callable[[Note], dict[str, Any]], out: Path, label: str) -> None:
    """Appends what `work` finds of each note that `out` has not yet."""
    checked, done = require_notes(notes), read_lines(out)
    for note in checked:
        require_text(note)
    left = [note for note in checked if note.note_id not in done]
    bar = progress_bar(len(checked), label, done=len(checked) - len(left))
    with writing(out), out.open("a", encoding="utf-8") as file, bar as shown:
        for note in left:
            file.write(json.dumps(work(note), ensure_ascii=False) + "\n")
            file.flush()
            shown.advance()
