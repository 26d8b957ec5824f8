"""Ranked codes of notes by a trained model. It takes notes, which carry no gold codes, and nothing else of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concept_icd.baselines.ltr_icd.data import NoteEncoder, pad_ids
from concept_icd.baselines.ltr_icd.model import LtrIcd
from concept_icd.baselines.ltr_icd.segments import merge
from concept_icd.baselines.predictions import kinds_of, prediction_line, versions_of
from concept_icd.errors import InputError
from concept_icd.llm.base_model import INERT, UNREADABLE
from concept_icd.llm.reference import fingerprint_of
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import new_file
from concept_icd.progress import track
from concept_icd.records import CodingResult, Note, OneLine, RankedCode, require_notes


@dataclass(frozen=True, repr=False)
class NotePrediction(OneLine):
    """What the model says of one note; columns are those of `LtrIcdConfig.codes`.

    Attributes:
        probabilities: float64 (codes,). accepted: bool (codes,).
        order: every column, first-ranked first. generated: what the decoder wrote, columns in order.
    """

    note_id: str
    probabilities: np.ndarray
    accepted: np.ndarray
    order: np.ndarray
    generated: tuple[int, ...]
    truncated: str | None


def predict(
    model_folder: str | Path, notes: Iterable[Note], *, device: str | None = None, batch_size: int = 8
) -> Iterator[CodingResult]:
    """Ranked codes of new notes, in their order.

    Args:
        model_folder: `OUT/model` of a training run.

    Raises:
        InputError: no such model, or a note is empty. TypeError: something that is not a `Note`.
    """
    folder = Path(model_folder)
    checked = require_notes(notes)
    model, encoder = load(folder, device)
    about, said = _about_codes(model), versions(folder, model)
    for prediction in predict_notes(model, encoder, checked, batch_size):
        ranked = tuple(
            RankedCode(
                rank=rank,
                probability=float(prediction.probabilities[column]),
                accepted=bool(prediction.accepted[column]),
                concepts=(),
                **about[column],
            )
            for rank, column in enumerate(prediction.order.tolist(), start=1)
        )
        yield CodingResult(prediction.note_id, ranked, prediction.truncated, said)


def load(folder: Path, device: str | None = None) -> tuple[LtrIcd, NoteEncoder]:
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
) -> Iterator[NotePrediction]:
    """Predictions in the order of the notes."""
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
            yield NotePrediction(
                note.note_id, probabilities[row], accepted[row], order, tuple(generated[row]), encoded[row][1]
            )


def write_predictions(
    folder: Path, notes: Iterable[Note], out: Path, *, top_codes: int = 0, batch_size: int = 8
) -> int:
    """Writes predictions.jsonl, the form that `concept-icd evaluate` reads, by rename; returns the number of notes.

    Args:
        folder: of the model. top_codes: codes a line, the first-ranked; 0: all.
    """
    checked = require_notes(notes)
    model, encoder = load(folder)
    settings, said = model.settings, versions(folder, model)
    kinds = kinds_of(settings.diagnoses, settings.procedures)
    with new_file(out) as staging, staging.open("w", encoding="utf-8") as file:
        for prediction in track(
            predict_notes(model, encoder, checked, batch_size), len(checked), f"predicting {len(checked)} notes"
        ):
            file.write(
                prediction_line(
                    prediction.note_id,
                    kinds,
                    prediction.probabilities,
                    prediction.accepted,
                    prediction.order,
                    said,
                    truncated=prediction.truncated,
                    top_codes=top_codes,
                )
            )
    return len(checked)


def versions(folder: Path, model: LtrIcd) -> dict[str, str]:
    """What produced a prediction."""
    return versions_of(f"{model.settings.options.system}@{(fingerprint_of(folder) or '')[:12]}", model.threshold)


def _about_codes(model: LtrIcd) -> list[dict[str, Any]]:
    """What a result says of each code whatever the note."""
    settings = model.settings
    ontology = load_ontology(settings.classification)
    return [
        {
            "code": label,
            "kind": "diagnosis" if column < len(settings.diagnoses) else "procedure",
            "title": ontology.resolve(meant).title,
            "path": ontology.path(meant),
        }
        for column, label in enumerate(settings.codes)
        for meant in [settings.aliases.get(label, label)]
    ]
