"""Training prompts of both stages. This is the only place of CEC that reads gold codes.

A prompt is turned into tokens only when it is needed: a stage learns from a few hundred of many thousands.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from concept_icd.baselines.cec.prompts import CodePrompt, all_phrases, read_sections
from concept_icd.baselines.training import pad_ids
from concept_icd.errors import InputError
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.records import CodedNote, OneLine

#: Of stage 2's training prompts: codes that a note has not, asked a note; phrases of the code and of others, asked a
#: prompt.
WRONG_CODES, OWN, OTHERS = 2, 5, 3
#: Marks what the loss leaves out: padding alone.
IGNORED = -100


@dataclass(frozen=True, repr=False)
class ConceptQuestion(OneLine):
    """A training question of stage 1."""

    note: CodedNote
    phrase: str
    answer: bool


@dataclass(frozen=True, repr=False)
class CodeQuestion(OneLine):
    """A training question of stage 2. answers: (phrase, whether its code is gold)."""

    note: CodedNote
    label: str
    answers: tuple[tuple[str, bool], ...]
    answer: bool


def concept_questions(
    notes: Sequence[CodedNote],
    phrases: Mapping[str, Sequence[str]],
    negative_share: float,
    note_share: float,
    draws: random.Random,
) -> list[ConceptQuestion]:
    """Every phrase of a gold code, answered yes, and each other phrase with probability `negative_share`, no; shuffled.

    Args:
        phrases: label -> phrases of one kind. note_share: probability of a note to be learnt from.
    """
    every = all_phrases(phrases)
    questions = []
    for note in notes:
        if draws.random() > note_share:
            continue
        true = all_phrases(phrases, note.codes)
        false = [phrase for phrase in every if phrase not in true and draws.random() < negative_share]
        questions += [ConceptQuestion(note, phrase, True) for phrase in true]
        questions += [ConceptQuestion(note, phrase, False) for phrase in false]
    draws.shuffle(questions)
    return questions


def code_questions(
    notes: Sequence[CodedNote], phrases: Mapping[str, Sequence[str]], draws: random.Random
) -> list[CodeQuestion]:
    """The gold codes of each note and two others, each with up to eight phrases and their gold answers; shuffled.

    Five phrases are the code's own; three are one each of three labels on the other side: not gold where the code is,
    gold where it is not.

    Args:
        phrases: label -> phrases of both kinds.
    """
    questions = []
    for note in notes:
        gold = [label for label in phrases if label in set(note.codes)]
        rest = [label for label in phrases if label not in set(note.codes)]
        for label in (*gold, *draws.sample(rest, min(WRONG_CODES, len(rest)))):
            answer = label in gold
            other = rest if answer else gold
            asked = [(phrase, answer) for phrase in _sample(phrases[label], OWN, draws)]
            for owner in draws.sample(other, min(OTHERS, len(other))):
                asked += [(phrase, not answer) for phrase in _sample(phrases[owner], 1, draws)]
            draws.shuffle(asked)
            questions.append(CodeQuestion(note, label, tuple(asked), answer))
    draws.shuffle(questions)
    return questions


def concept_examples(questions: Sequence[ConceptQuestion], prompt: TokenizedPrompt, most: int) -> list[dict[str, Any]]:
    """The first `most` questions whose note need not be cut, in tokens with their answer.

    Raises:
        InputError: there is none.
    """

    def encoded() -> Iterator[dict[str, Any]]:
        for asked in questions:
            question = prompt.encode_question(asked.phrase)
            note = prompt.encode_note(read_sections(asked.note.note), len(question) + 1)
            if note.truncated is None:  # the release leaves longer prompts out
                yield _example(note.ids, question, prompt, asked.answer)

    return _first(encoded(), most, "every prompt is longer than the model reads")


def code_examples(
    questions: Sequence[CodeQuestion],
    prompt: TokenizedPrompt,
    words: CodePrompt,
    titles: Mapping[str, str],
    most: int,
    *,
    state_truth: bool,
) -> list[dict[str, Any]]:
    """The first `most` questions in tokens with their answer, notes cut to what is left.

    Args:
        titles: label -> official title. state_truth: a sentence before the answers says it, as in the release.

    Raises:
        InputError: there is none.
    """

    def encoded() -> Iterator[dict[str, Any]]:
        for asked in questions:
            truth = asked.answer if state_truth else None
            question = prompt.encode_question(words.text_after_note(titles[asked.label], asked.answers, truth))
            note = prompt.encode_note(asked.note.note, len(question) + 1)
            yield _example(note.ids, question, prompt, asked.answer)

    return _first(encoded(), most, "no training note has a code of the label set")


def collate(examples: Sequence[Mapping[str, Any]], padding_id: int) -> dict[str, torch.Tensor]:
    """A batch padded on the left, whose labels are its tokens: the loss is over the whole sequence."""
    ids, mask = pad_ids([example["input_ids"] for example in examples], padding_id, left=True)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, IGNORED)}


def _sample(phrases: Sequence[str], count: int, draws: random.Random) -> list[str]:
    return draws.sample(list(phrases), min(count, len(phrases)))


def _example(note: Sequence[int], question: Sequence[int], prompt: TokenizedPrompt, answer: bool) -> dict[str, Any]:
    return {"input_ids": [*note, *question, prompt.yes_id if answer else prompt.no_id]}


def _first(examples: Iterator[dict[str, Any]], most: int, why: str) -> list[dict[str, Any]]:
    chosen = list(islice(examples, most))
    if not chosen:
        raise InputError(f"there is nothing to learn from: {why}")
    return chosen
