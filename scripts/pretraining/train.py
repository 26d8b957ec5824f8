"""Pre-training of the tiny base model: three losses in every step.

    loss = language + told + weight * question
    language: mean cross-entropy of the next token in open text
    told:     the same in the notes that are asked about, and in the words of their true questions
    question: mean binary cross-entropy of logit(yes) - logit(no) over all questions

Prompt, packing and margin are those of scoring and of fine-tuning (`prompts`, `llm.packing`). Each batch follows
from the seed and the step's number alone, so a run that was killed goes on exactly as if it had not been (on the same
machine with the same number of threads): its state is the weights, the optimisers' moments and the step.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concept_icd.artifacts import read_record
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.packed_pass import accept_packing
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.records import Note
from scripts.pretraining.data import withheld
from scripts.pretraining.model import (
    MAX_LENGTH,
    STATE,
    load_moments,
    new_model,
    new_optimizers,
    save_state,
    train_tokenizer,
)
from scripts.pretraining.questions import QuestionedNote, QuestionMaker, batches

WITHHELD_DOCUMENTS = 0.01


@dataclass(frozen=True)
class PretrainingOptions:
    """What decides a run, besides its data.

    Attributes:
        steps: optimiser steps. learning_rate: the peak, after `warmup` steps; then a cosine down to a tenth.
        layers, hidden, heads, mlp, vocabulary: sizes of the model; `vocabulary` is the most tokens there may be.
        easy_steps: steps on literal notes alone (see `questions.batches`).
        notes: notes with questions a step. rows, row_tokens: running text a step. question_weight: of that loss.
        start_from: a model to go on from, by folder or name; its sizes and tokenizer are kept. skip: steps whose
            batches that model has seen, with the same seed.
    """

    steps: int = 7500
    seed: int = 1
    layers: int = 4
    hidden: int = 128
    heads: int = 4
    mlp: int = 384
    vocabulary: int = 8000
    learning_rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.05
    easy_steps: int = 500
    notes: int = 8
    rows: int = 2
    row_tokens: int = 192
    question_weight: float = 2.0
    checkpoint_every: int = 250
    start_from: str = ""
    skip: int = 0


class Pretraining:
    """One run: the data in tokens, the model, and the steps taken so far.

    Args:
        streams: groups of documents that get the same share of the running text, whatever their size.
        folder: holds `checkpoint/` (loadable as a model at any time) while the run goes on.

    Raises:
        InputError: the checkpoint is of a run with other options, or the model to start from cannot be loaded.
    """

    def __init__(
        self,
        options: PretrainingOptions,
        maker: QuestionMaker,
        streams: Sequence[Sequence[str]],
        folder: str | Path,
    ) -> None:
        self.options, self.maker, self.checkpoint = options, maker, Path(folder) / "checkpoint"
        kept = [[text for text in texts if not withheld(text, WITHHELD_DOCUMENTS)] for texts in streams]
        apart = [text for texts in streams[:2] for text in texts if withheld(text, WITHHELD_DOCUMENTS)]
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        if (self.checkpoint / STATE).is_file():
            self._resume()
        elif options.start_from:
            self._load(options.start_from)
        else:
            asked = list(maker.terms.texts.values())
            self.tokenizer = train_tokenizer((text for texts in [*kept, asked] for text in texts), options.vocabulary)
            sizes = {key: getattr(options, key) for key in ("layers", "hidden", "heads", "mlp")}
            self.model = new_model(self.tokenizer, options.seed, **sizes)
            self.optimizers = new_optimizers(self.model, options.learning_rate, options.weight_decay)
        accept_packing(self.model.model)
        self.prompt = TokenizedPrompt(PromptTemplate.load("concept"), self.tokenizer, MAX_LENGTH)
        self.streams = [self._stream(texts) for texts in kept if texts]
        self.apart = self._stream(apart)
        self._question_ids: dict[str, list[int]] = {}
        self._instruction = len(self.tokenizer(self.prompt.template.before_note)["input_ids"])

    def run(
        self, report: Callable[[str], None], evaluate_every: int = 500, stop_at: int | None = None
    ) -> dict[str, float]:
        """Takes the steps that are left, or those up to `stop_at`, and returns the held-out figures."""
        last = self.options.steps if stop_at is None else min(stop_at, self.options.steps)
        options = self.options
        source = batches(self.maker, options.seed, options.skip + self.step, options.notes, options.easy_steps)
        start, first = time.monotonic() - self.seconds, self.step
        losses: list[tuple[float, float, float]] = []
        for notes in source:
            if self.step >= last:
                break
            losses.append(self._take_step(notes))
            self.seconds = time.monotonic() - start
            if self.step % 50 == 0:
                language, told, question = np.mean(losses[-50:], axis=0)
                left = self.seconds / self.step * (self.options.steps - self.step)
                report(
                    f"step {self.step}/{self.options.steps}: losses {language:.3f} language, {told:.3f} told, "
                    f"{question:.3f} yes/no, {self.tokens / self.seconds:,.0f} tokens/s, about {left / 60:.0f} min left"
                )
            if self.step % self.options.checkpoint_every == 0 and self.step > first:
                self.save_checkpoint()
            if self.step % evaluate_every == 0:
                report(f"held out at step {self.step}: {json.dumps(self.evaluate(notes=100))}")
        self.save_checkpoint()
        return self.evaluate()

    def evaluate(self, notes: int = 400) -> dict[str, float]:
        """Held-out figures: language loss (nats a token) and AUC of yes over no, per kind of question.

        The questions are about notes that say codes in wordings, or say codes, which training never shows.
        """
        from sklearn.metrics import roc_auc_score

        rng, tokens = random.Random("held-out"), self.tokens
        drawn = sorted((self.maker.held_out(rng) for _ in range(notes)), key=lambda note: len(note.text))
        scores: list[float] = []
        self.model.eval()
        with torch.no_grad():
            for first in range(0, len(drawn), 16):
                encoded, questions = self._encode(drawn[first : first + 16])
                scores += self._margins(self._hidden(encoded, questions), questions).tolist()
            size = self.options.row_tokens
            count = min(100, len(self.apart) // size)
            rows = torch.from_numpy(self.apart[: count * size].astype(np.int64).reshape(count, size))
            losses = [self._language_loss(part).item() * len(part) for part in rows.split(16)] if count else [math.nan]
        self.model.train()
        self.tokens = tokens  # counts what was learnt from
        labels = np.array([label for note in drawn for label in note.labels])
        levels = np.array([level for note in drawn for level in note.levels])
        values = np.array(scores)
        figures = {"language_loss": sum(losses) / max(count, 1), "auc": float(roc_auc_score(labels, values))}
        for level in ("1", "2", "3", "4", "5"):
            chosen = levels == level
            if 0 < labels[chosen].sum() < chosen.sum():
                figures[f"auc_depth_{level}"] = float(roc_auc_score(labels[chosen], values[chosen]))
        return {key: round(value, 4) for key, value in figures.items()} | {"questions": len(labels)}

    def save_checkpoint(self) -> None:
        """Writes the folder from which this run can go on, and which loads as a model meanwhile."""
        state = {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "options": asdict(self.options)}
        save_state(self.checkpoint, self.model, self.tokenizer, self.optimizers, state)

    def _load(self, name: str | Path) -> None:
        loaded = load_model(name, device="cpu")
        self.model, self.tokenizer = loaded.model.train(), loaded.tokenizer
        self.optimizers = new_optimizers(self.model, self.options.learning_rate, self.options.weight_decay)

    def _resume(self) -> None:
        state = read_record(self.checkpoint / STATE)
        if state["options"] != asdict(self.options):
            raise InputError(f"{self.checkpoint} belongs to a run with other options; name another --out")
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self._load(self.checkpoint)
        load_moments(self.checkpoint, self.model, self.optimizers)

    def _take_step(self, notes: Sequence[QuestionedNote]) -> tuple[float, float, float]:
        rate = self._learning_rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        language = self._language_loss(self._rows())
        language.backward()
        encoded, questions = self._encode(notes)
        hidden = self._hidden(encoded, questions)
        labels = torch.tensor([label for note in notes for label in note.labels])
        question = torch.nn.functional.binary_cross_entropy_with_logits(self._margins(hidden, questions), labels)
        targets = next_tokens(encoded, questions, [note.labels for note in notes], self._instruction)
        logits = self.model.lm_head(hidden[targets >= 0])
        told = torch.nn.functional.cross_entropy(logits, targets[targets >= 0])
        (told + self.options.question_weight * question).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return language.item(), told.item(), question.item()

    def _learning_rate(self) -> float:
        step, options = self.step, self.options
        if step < options.warmup:
            return options.learning_rate * (step + 1) / options.warmup
        done = (step - options.warmup) / max(1, options.steps - options.warmup)
        return options.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def _rows(self) -> torch.Tensor:
        """(rows, row_tokens) of running text; which follows from the seed and the step."""
        rng = random.Random(f"text-{self.options.seed}-{self.options.skip + self.step}")
        rows = []
        for _ in range(self.options.rows):
            stream = rng.choice(self.streams)
            start = rng.randrange(max(1, len(stream) - self.options.row_tokens))
            rows.append(np.resize(stream[start : start + self.options.row_tokens], self.options.row_tokens))
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _language_loss(self, rows: torch.Tensor) -> torch.Tensor:
        self.tokens += rows.numel()
        hidden = self.model.model(input_ids=rows[:, :-1], use_cache=False).last_hidden_state
        logits = self.model.lm_head(hidden)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    def _encode(self, notes: Sequence[QuestionedNote]) -> tuple[list[tuple[int, ...]], list[list[list[int]]]]:
        questions = [[self._question(text) for text in note.questions] for note in notes]
        encoded = [
            self.prompt.encode_note(Note("made-up", note.text), max(map(len, asked))).ids
            for note, asked in zip(notes, questions, strict=True)
        ]
        return encoded, questions

    def _hidden(self, encoded: Sequence[tuple[int, ...]], questions: Sequence[list[list[int]]]) -> torch.Tensor:
        batch = pack_batch(encoded, questions, self.tokenizer.pad_token_id)
        self.tokens += sum(map(len, encoded)) + sum(len(q) for asked in questions for q in asked)
        states: torch.Tensor = self.model.model(**batch, use_cache=False).last_hidden_state
        return states

    def _margins(self, hidden: torch.Tensor, questions: Sequence[list[list[int]]]) -> torch.Tensor:
        """The margins of all questions of all notes, in order: one vector."""
        answers = torch.cat([hidden[row, -len(asked) :] for row, asked in enumerate(questions)])
        weights = self.model.lm_head.weight
        return answers @ (weights[self.prompt.yes_id] - weights[self.prompt.no_id])

    def _question(self, text: str) -> list[int]:
        ids = self._question_ids.get(text)
        if ids is None:
            ids = self._question_ids[text] = self.prompt.encode_question(text)
        return ids

    def _stream(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """All texts as one row of ids, each between its start and end marks, in an order that never changes."""
        order = random.Random(0).sample(range(len(texts)), len(texts))
        ids: list[int] = []
        for first in range(0, len(order), 1000):
            part = [texts[index] for index in order[first : first + 1000]]
            for encoded in self.tokenizer(part, verbose=False)["input_ids"]:
                ids += [*encoded, self.tokenizer.eos_token_id]
        return np.array(ids, dtype=np.int32)


def keep_large_blocks() -> None:
    """Lets glibc keep large blocks instead of returning them at every step; saves about 15 % of the time."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, at the most that glibc takes


def next_tokens(
    notes: Sequence[Sequence[int]],
    questions: Sequence[Sequence[Sequence[int]]],
    labels: Sequence[Sequence[float]],
    instruction: int,
) -> torch.Tensor:
    """What follows each token of `pack_batch`'s rows: (B, L), -1 where nothing is to be learnt.

    Learnt are the words of the note and those of the true questions, so that a note foretells its concepts: many more
    signs of what goes with what than the yes and no alone. The instruction is always the same and is left out.
    """
    body = max(len(note) + sum(len(q) - 1 for q in qs) for note, qs in zip(notes, questions, strict=True))
    targets = torch.full((len(notes), body + max(map(len, questions))), -1)
    for row, (note, qs) in enumerate(zip(notes, questions, strict=True)):
        place = body - len(note) - sum(len(q) - 1 for q in qs)
        targets[row, place + instruction - 1 : place + len(note) - 1] = torch.tensor(note[instruction:])
        place += len(note)
        for question, label in zip(qs, labels[row], strict=True):
            if label == 1:
                targets[row, place : place + len(question) - 1] = torch.tensor(question[1:])
            place += len(question) - 1
    return targets
