"""Ranked codes of notes by a trained model. It takes notes, which carry no gold codes, and nothing else of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from concept_icd.baselines.corpus import Prediction, versions_of
from concept_icd.baselines.ltr_icd.data import NoteEncoder
from concept_icd.baselines.ltr_icd.model import LtrIcd
from concept_icd.baselines.training import pad_ids
from concept_icd.coder.results import describe_codes
from concept_icd.errors import InputError
from concept_icd.llm.base_model import INERT, UNREADABLE
from concept_icd.llm.reference import fingerprint_of
from concept_icd.records import CodingResult, Note, RankedCode, require_notes


def predict(
    model_folder: str | Path, notes: Iterable[Note], *, device: str | None = None, batch_size: int = 8
) -> Iterator[CodingResult]:
    """Ranked codes of new notes, in their order.

    Args:
        model_folder: `OUT/model` of a training run.

    Raises:
        InputError: no such model, or a note is empty. TypeError: something that is not a `Note`.
    """
    checked = require_notes(notes)
    model, encoder = load(model_folder, device)
    settings, said = model.settings, versions(model_folder, model)
    about = describe_codes({code: settings.aliases.get(code, code) for code in settings.codes}, settings.classification)
    for note_id, probabilities, accepted, order, truncated in predict_notes(model, encoder, checked, batch_size):
        ranked = tuple(
            RankedCode(
                rank=rank,
                probability=float(probabilities[column]),
                accepted=bool(accepted[column]),
                concepts=(),
                **about[column],
            )
            for rank, column in enumerate(order.tolist(), start=1)
        )
        yield CodingResult(note_id, ranked, truncated, said)


def load(folder: str | Path, device: str | None = None) -> tuple[LtrIcd, NoteEncoder]:
    """The model, in evaluation mode, and what encodes notes for it.

    Raises:
        InputError: no such model.
    """
    import transformers

    model = LtrIcd.from_pretrained(folder, device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **INERT)
    except UNREADABLE as error:
        raise InputError(f"the tokenizer in {folder} is missing or damaged: train again") from error
    options = model.settings.options
    return model, NoteEncoder(tokenizer, options.max_tokens, options.text)


@torch.no_grad()
def predict_notes(
    model: LtrIcd, encoder: NoteEncoder, notes: Iterable[Note], batch_size: int = 8
) -> Iterator[Prediction]:
    """Predictions in the order of the notes; columns are those of `LtrIcdConfig.codes`."""
    checked = require_notes(notes)
    device = next(model.parameters()).device
    padding, options = encoder.tokenizer.pad_token_id or 0, model.settings.options
    model.eval()
    for start in range(0, len(checked), batch_size):
        part = checked[start : start + batch_size]
        encoded = [encoder.encode(note) for note in part]
        ids, mask = pad_ids([tokens for tokens, _ in encoded], padding)
        hidden, real = model.encode(ids.to(device), mask.to(device))
        logits = model.classify(hidden, real)
        probabilities = logits.double().sigmoid().cpu().numpy()
        accepted = model.threshold.accept(probabilities)
        generated: list[list[int]] = [[] for _ in part]
        if model.decoder is not None:
            likely = torch.from_numpy(probabilities >= options.merge_floor)
            generated = model.generate(hidden, real, logits, likely if options.floor_while_decoding else None)
        for row, note in enumerate(part):
            order = merge(generated[row], probabilities[row], options.merge_floor)
            yield Prediction(note.note_id, probabilities[row], accepted[row], order, encoded[row][1])


def merge(generated: Sequence[int], probabilities: np.ndarray, floor: float) -> np.ndarray:
    """One ranking of every code (column) from the decoder's sequence and the classifier's probabilities.

    First the generated codes in their order (diagnoses, then procedures) whose probability is at least `floor`; then
    all others by falling probability, equals in the label set's order. Taken apart, the diagnoses of this list, and
    the procedures, are each ranked by the same rule; a sequence that ended early, or is empty, leaves the rest to the
    probabilities.

    Args:
        generated: columns, none twice. probabilities: (codes,).

    >>> merge([2, 0], np.array([0.05, 0.7, 0.6]), floor=0.1).tolist()
    [2, 1, 0]
    """
    kept = [column for column in generated if probabilities[column] >= floor]
    falling = np.argsort(-probabilities, kind="stable")
    return np.concatenate([np.array(kept, dtype=np.int64), falling[~np.isin(falling, kept)]])


def versions(folder: str | Path, model: LtrIcd) -> dict[str, str]:
    """What produced a prediction."""
    return versions_of(f"{model.settings.options.system}@{(fingerprint_of(folder) or '')[:12]}", model.threshold)
