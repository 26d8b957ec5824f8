"""The test path of CEC: notes in, answers of stage 1, scores of stage 2. No gold code can come in: a `Note` has none.

Each note's line is appended when it is done, so that a killed run goes on with the next note.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_icd.baselines.cec.answering import says_yes, write, yes_probability
from concept_icd.baselines.cec.phrases import all_phrases
from concept_icd.baselines.cec.prompts import CodePrompt, read_sections
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.llm.base_model import LoadedModel
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.outputs import new_file, writing
from concept_icd.progress import progress_bar
from concept_icd.records import Note, require_notes

#: Of stage 2's prompts at test: phrases of the code, and phrases that stage 1 did not find in the note.
OWN, NOT_FOUND = 6, 2


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
        if reason := flaw(note.text):
            raise InputError(f"note {note.note_id!r}: {reason}")
    left = [note for note in checked if note.note_id not in done]
    bar = progress_bar(len(checked), label, done=len(checked) - len(left))
    with writing(out), out.open("a", encoding="utf-8") as file, bar as shown:
        for note in left:
            file.write(json.dumps(work(note), ensure_ascii=False) + "\n")
            file.flush()
            shown.advance()
