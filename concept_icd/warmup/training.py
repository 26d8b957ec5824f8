"""Warm-up: a causal LM learns to answer concept questions before it sees any coded note.

    loss = question + language_weight * language + told_weight * told
    question: mean binary cross-entropy of logit(yes) - logit(no) over all questions
    language: mean cross-entropy of the next token in open text
    told:     the same in the notes that are asked about, and in the words of their true questions

A model that knows its language learns from the questions alone, by LoRA or with all its weights; the tiny model, which
begins at random weights, from all three (`scripts/pretraining`). Prompt, packing and margin are those of scoring and
of tuning. Each batch follows from the seed and the step's number alone, so a run that was killed goes on exactly as if
it had not been (on the same machine with the same number of threads): its state is the weights that learn, the
optimisers' moments and the step.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file

from concept_icd.artifacts import read_record, write_json
from concept_icd.errors import InputError
from concept_icd.llm.packed_pass import accept_packing, packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.outputs import new_folder
from concept_icd.records import Note
from concept_icd.warmup.data import withheld
from concept_icd.warmup.questions import QuestionedNote, QuestionMaker, batches

WITHHELD_DOCUMENTS = 0.01
STATE, MOMENTS = "state.json", "optimizer.safetensors"


@dataclass
class WarmupOptions:
    """How a run learns. Of several processes each takes as many notes and rows a step."""

    steps: int = field(default=720, metadata={"help": "Optimiser steps."})
    seed: int = field(default=1, metadata={"help": "Of the questions, and of what is withheld."})
    learning_rate: float = field(default=6e-4, metadata={"help": "The peak; then a cosine down to a tenth."})
    warmup: int = field(default=20, metadata={"help": "Steps up to the peak."})
    weight_decay: float = field(default=0.0, metadata={"help": "Of AdamW."})
    notes: int = field(default=8, metadata={"help": "Notes a step, of up to 16 questions each."})
    easy_steps: int = field(default=0, metadata={"help": "Steps on lists of literal phrases alone, at the start."})
    skip: int = field(default=0, metadata={"help": "Steps whose batches the model has seen, with the same seed."})
    question_weight: float = field(default=1.0, metadata={"help": "Of the loss of the answers."})
    told_weight: float = field(default=0.0, metadata={"help": "Of the next token in the notes and true questions."})
    language_weight: float = field(default=0.0, metadata={"help": "Of the next token in open text."})
    rows: int = field(default=2, metadata={"help": "Rows of open text a step, where its loss has a weight."})
    row_tokens: int = field(default=192, metadata={"help": "Tokens a row."})
    checkpoint_every: int = field(default=60, metadata={"help": "Steps between checkpoints to go on from."})
    evaluate_every: int = field(default=240, metadata={"help": "Steps between held-out figures on a quarter of them."})
    held_out_notes: int = field(default=400, metadata={"help": "Notes of the held-out figures, of up to 16 questions."})


@dataclass
class Learner:
    """What learns.

    Attributes:
        model: a causal LM in training mode that takes packed passes, with or without a LoRA. prompt: of its tokenizer.
        optimizers: of the weights that learn. save: writes those weights, so that a run can go on, into a folder.
        autocast: compute in bfloat16 where autocast deems it safe; weights stay as they are.
    """

    model: Any
    prompt: TokenizedPrompt
    optimizers: Sequence[torch.optim.Optimizer]
    save: Callable[[Path], object]
    autocast: bool = False


class Warmup:
    """One run: the data in tokens, the learner, and the steps taken so far.

    Args:
        streams: groups of documents that get the same share of the running text, whatever their size.
        folder: holds `checkpoint/` while the run goes on.
        begin: makes the learner, from the checkpoint's folder, or anew where that is None.
        made_of: what decides the result beside the questions, in JSON's types: a run goes on with the same alone.

    Raises:
        InputError: the checkpoint is of a run with other options, or the model to start from cannot be loaded.
    """

    def __init__(
        self,
        options: WarmupOptions,
        maker: QuestionMaker,
        streams: Sequence[Sequence[str]],
        folder: str | Path,
        begin: Callable[[Path | None], Learner],
        made_of: Mapping[str, Any],
    ) -> None:
        self.options, self.maker, self.checkpoint = options, maker, Path(folder) / "checkpoint"
        self.made_of, self.processes = json.loads(json.dumps(dict(made_of))), PartialState()
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        begun = (self.checkpoint / STATE).is_file()
        if begun:
            state = read_record(self.checkpoint / STATE)
            if state["options"] != self.made_of:
                raise InputError(f"{self.checkpoint} belongs to a run with other options; name another --out")
            self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.learner = begin(self.checkpoint if begun else None)
        self.model, self.prompt = self.learner.model, self.learner.prompt
        self.tokenizer = self.prompt.tokenizer
        if options.told_weight:
            self._decoder = self.model.get_decoder()
            accept_packing(self._decoder)
        self._learning = {name: weights for name, weights in self.model.named_parameters() if weights.requires_grad}
        if begun:
            load_moments(self.checkpoint, self._learning, self.learner.optimizers)
        self.streams, self.apart = [], np.zeros(0, dtype=np.int32)
        if options.language_weight:
            kept = [[text for text in texts if not withheld(text, WITHHELD_DOCUMENTS)] for texts in streams]
            self.streams = [self._stream(texts) for texts in kept if texts]
            self.apart = self._stream([t for texts in streams[:2] for t in texts if withheld(t, WITHHELD_DOCUMENTS)])
        self._question_ids: dict[str, list[int]] = {}

    def run(self, report: Callable[[str], None], stop_at: int | None = None) -> dict[str, float]:
        """Takes the steps that are left, or those up to `stop_at`, and returns the held-out figures."""
        options, count = self.options, self.processes.num_processes
        last = options.steps if stop_at is None else min(stop_at, options.steps)
        first = (options.skip + self.step) * count
        source = batches(self.maker, options.seed, first, options.notes, options.easy_steps)
        start, begun = time.monotonic() - self.seconds, self.step
        losses: list[tuple[float, float, float]] = []
        for notes in islice(source, self.processes.process_index, None, count):
            if self.step >= last:
                break
            losses.append(self._take_step(notes))
            self.seconds = time.monotonic() - start
            if self.step % 20 == 0:
                language, told, question = np.mean(losses[-50:], axis=0)
                left = self.seconds / self.step * (options.steps - self.step)
                more = f"{language:.3f} language, {told:.3f} told, " if options.language_weight else ""
                report(
                    f"step {self.step}/{options.steps}: losses {more}{question:.3f} yes/no, "
                    f"{count * self.tokens / self.seconds:,.0f} tokens/s, about {left / 60:.0f} min left"
                )
            if self.step % options.checkpoint_every == 0 and self.step > begun:
                self.save_checkpoint()
            if self.step % options.evaluate_every == 0 and self.step < last:
                report(f"held out at step {self.step}: {json.dumps(self.evaluate(options.held_out_notes // 4))}")
        self.save_checkpoint()
        return self.evaluate()

    def evaluate(self, notes: int | None = None) -> dict[str, float]:
        """Held-out figures: AUC of yes over no, per kind of question, and the language loss where it was learnt.

        The questions are about notes that say codes in wordings, or say codes, which training never shows. 0.5 is
        chance. The language loss is in nats a token.
        """
        from sklearn.metrics import roc_auc_score

        rng, tokens = random.Random("held-out"), self.tokens
        drawn = sorted(
            (self.maker.held_out(rng) for _ in range(notes or self.options.held_out_notes)),
            key=lambda note: len(note.text),
        )
        scores: list[float] = []
        figures: dict[str, float] = {}
        self.model.eval()
        with torch.no_grad():
            for first in range(0, len(drawn), 16):
                encoded, questions = self._encode(drawn[first : first + 16])
                scores += in_a_row(self._margins(encoded, questions), questions).tolist()
            size = self.options.row_tokens
            if count := min(100, len(self.apart) // size):
                rows = torch.from_numpy(self.apart[: count * size].astype(np.int64).reshape(count, size))
                losses = [self._language_loss(part).item() * len(part) for part in rows.split(16)]
                figures["language_loss"] = sum(losses) / count
        self.model.train()
        self.tokens = tokens  # counts what was learnt from
        labels = np.array([label for note in drawn for label in note.labels])
        levels = np.array([level for note in drawn for level in note.levels])
        values = np.array(scores)
        figures["auc"] = float(roc_auc_score(labels, values))
        for level in ("1", "2", "3", "4", "5"):
            chosen = levels == level
            if 0 < labels[chosen].sum() < chosen.sum():
                figures[f"auc_depth_{level}"] = float(roc_auc_score(labels[chosen], values[chosen]))
        return {key: round(value, 4) for key, value in figures.items()} | {"questions": len(labels)}

    def save_checkpoint(self) -> None:
        """Writes the folder from which this run can go on."""
        if self.processes.is_main_process:
            state = {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "options": self.made_of}
            with new_folder(self.checkpoint, "checkpoint", overwrite=True) as staging:
                self.learner.save(staging)
                save_file(moments_of(self._learning, self.learner.optimizers), staging / MOMENTS)
                write_json(staging / STATE, state)
        self.processes.wait_for_everyone()

    def _take_step(self, notes: Sequence[QuestionedNote]) -> tuple[float, float, float]:
        options, optimizers = self.options, self.learner.optimizers
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate()
        language = told = torch.zeros(())
        if options.language_weight:
            language = self._language_loss(self._rows())
            (options.language_weight * language).backward()
        encoded, questions = self._encode(notes)
        if options.told_weight:
            hidden = self._hidden(encoded, questions)
            told = self._told_loss(hidden, encoded, questions, notes)
            margins = self._margins_of(hidden[:, -max(map(len, questions)) :])
        else:
            margins = self._margins(encoded, questions)
        labels = torch.tensor([label for note in notes for label in note.labels], device=margins.device)
        question = torch.nn.functional.binary_cross_entropy_with_logits(in_a_row(margins, questions), labels)
        (options.told_weight * told + options.question_weight * question).backward()
        average_gradients(self._learning.values(), self.processes.num_processes)
        torch.nn.utils.clip_grad_norm_(self._learning.values(), 1.0)
        for optimizer in optimizers:
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
        """(rows, row_tokens) of running text; which follows from the seed, the step and the process."""
        number = (self.options.skip + self.step) * self.processes.num_processes + self.processes.process_index
        rng = random.Random(f"text-{self.options.seed}-{number}")
        rows = []
        for _ in range(self.options.rows):
            stream = rng.choice(self.streams)
            start = rng.randrange(max(1, len(stream) - self.options.row_tokens))
            rows.append(np.resize(stream[start : start + self.options.row_tokens], self.options.row_tokens))
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _language_loss(self, rows: torch.Tensor) -> torch.Tensor:
        self.tokens += rows.numel()
        rows = rows.to(self.model.device)
        with self._precision():
            logits = self.model(input_ids=rows[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())

    def _encode(self, notes: Sequence[QuestionedNote]) -> tuple[list[tuple[int, ...]], list[list[list[int]]]]:
        questions = [[self._question(text) for text in note.questions] for note in notes]
        encoded = [
            self.prompt.encode_note(Note("made-up", note.text), max(map(len, asked))).ids
            for note, asked in zip(notes, questions, strict=True)
        ]
        return encoded, questions

    def _pack(
        self, encoded: Sequence[tuple[int, ...]], questions: Sequence[list[list[int]]]
    ) -> dict[str, torch.Tensor]:
        self.tokens += sum(map(len, encoded)) + sum(len(q) for asked in questions for q in asked)
        batch = pack_batch(encoded, questions, 0)
        return {name: rows.to(self.model.device) for name, rows in batch.items()}

    def _margins(self, encoded: Sequence[tuple[int, ...]], questions: Sequence[list[list[int]]]) -> torch.Tensor:
        """(notes, most questions) float32; the answers of a note stand in its last columns."""
        batch, most = self._pack(encoded, questions), max(map(len, questions))
        with self._precision():
            return packed_margins(self.model, batch, self.prompt.yes_id, self.prompt.no_id, most)

    def _hidden(self, encoded: Sequence[tuple[int, ...]], questions: Sequence[list[list[int]]]) -> torch.Tensor:
        with self._precision():
            states: torch.Tensor = self._decoder(**self._pack(encoded, questions), use_cache=False).last_hidden_state
        return states

    def _margins_of(self, hidden: torch.Tensor) -> torch.Tensor:
        weights = self.model.get_output_embeddings().weight
        return hidden.float() @ (weights[self.prompt.yes_id] - weights[self.prompt.no_id]).float()

    def _told_loss(
        self,
        hidden: torch.Tensor,
        encoded: Sequence[tuple[int, ...]],
        questions: Sequence[list[list[int]]],
        notes: Sequence[QuestionedNote],
    ) -> torch.Tensor:
        targets = next_tokens(encoded, questions, [note.labels for note in notes], self.prompt.around[0]).to(
            hidden.device
        )
        logits = self.model.get_output_embeddings()(hidden[targets >= 0])
        return torch.nn.functional.cross_entropy(logits.float(), targets[targets >= 0])

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self.learner.autocast:
            return torch.autocast(self.model.device.type, torch.bfloat16)
        return contextlib.nullcontext()

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


def in_a_row(margins: torch.Tensor, questions: Sequence[Sequence[object]]) -> torch.Tensor:
    """The answers of all notes one after the other; those of a note stand in the last columns of its row."""
    return torch.cat([row[len(row) - len(asked) :] for row, asked in zip(margins, questions, strict=True)])


def average_gradients(learning: Iterable[torch.nn.Parameter], processes: int) -> None:
    """Gives every process the mean of the gradients of all; one without a gradient counts as zero.

    By hand, since the losses go through parts of the model, which the wrapper of DDP would not see.
    """
    if processes > 1:
        for weights in learning:
            gradient = torch.zeros_like(weights) if weights.grad is None else weights.grad
            torch.distributed.all_reduce(gradient)
            weights.grad = gradient.div_(processes)


def moments_of(
    learning: Mapping[str, torch.nn.Parameter], optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, torch.Tensor]:
    """The optimisers' state by the names of the weights."""
    return {
        f"{key}:{name}": value.contiguous()
        for name, weights in learning.items()
        for optimizer in optimizers
        for key, value in optimizer.state.get(weights, {}).items()
    }


def load_moments(
    folder: Path, learning: Mapping[str, torch.nn.Parameter], optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Puts the moments of a checkpoint into new optimisers."""
    owner = {
        weights: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weights in group["params"]
    }
    for label, value in load_file(folder / MOMENTS).items():
        key, name = label.split(":")
        weights = learning[name]
        owner[weights].state[weights][key] = value if key == "step" else value.to(weights.device)


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
