"""Scores a corpus with the adapters of a tuning run: each note by one that was not tuned on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_json, read_manifest
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.model_reference import ModelReference
from concept_icd.prompts import PromptTemplate, checked_note_text
from concept_icd.records import Note, require_notes
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.store import fill_store
from concept_icd.tuning.folder import ADAPTER, CONCEPTS, FOLDS, PROMPT


def score_corpus(
    notes: Sequence[Note],
    tuned: str | Path,
    folder: str | Path,
    *,
    in_sample: bool = False,
    shard_notes: int = 256,
    **scorer: Any,
) -> None:
    """Fills the store `folder` with the scores of `notes` under the tuning run `tuned`.

    A note that the final adapter was tuned on is scored by the adapter of its fold; every other note by the final one.

    Args:
        in_sample: score training notes that no adapter is blind to all the same; heads will refuse the result.
        scorer: goes to `PackedScorer.from_pretrained`; max_length and note_text are those of the tuning by default.

    Raises:
        InputError: the run is not complete, or a note was seen by every adapter and `in_sample` is False.
    """
    manifest, tuned = read_manifest(tuned, "finetune"), Path(tuned)
    tuning: dict[str, Any] = manifest["config"]
    model: str = tuning["model_name_or_path"]
    if tuning["load_in_4bit"]:
        scorer = {"load_in_4bit": True} | scorer
    # A note is read as it was in tuning, unless the caller says otherwise.
    scorer["max_length"] = scorer.get("max_length") or tuning.get("max_length")
    scorer["note_text"] = checked_note_text(scorer.get("note_text") or tuning.get("note_text", "whole"))
    concepts, prompt = ConceptSet.load(tuned / CONCEPTS), PromptTemplate.load(tuned / PROMPT)
    groups: dict[str, list[Note]] = {}
    leaked = []
    notes = require_notes(notes)
    for note, name in zip(notes, adapters_of(notes, tuned), strict=True):
        if name is None:
            leaked.append(note.note_id)
        groups.setdefault(name or ADAPTER, []).append(note)
    if leaked and not in_sample:
        raise InputError(
            f"{len(leaked)} notes (first: {', '.join(leaked[:3])}) were seen by every adapter of {tuned}: "
            "tune with folds or a holdout, or pass --in-sample and accept that heads cannot be fitted on the scores"
        )
    settings = {
        "model": model,
        "adapter": str(tuned / ADAPTER),
        "weights": {name: ModelReference.of(model, tuned / name).hash for name in sorted(groups)},
        "load_in_4bit": bool(scorer.get("load_in_4bit")),
        "max_length": scorer["max_length"],
        "note_text": scorer["note_text"],
        "dtype": scorer.get("dtype"),
        "out_of_fold": not leaked,
    }
    jobs = [
        (group, partial(PackedScorer.from_pretrained, model, tuned / name, prompt, **scorer))
        for name, group in sorted(groups.items())
    ]
    fill_store(folder, jobs, concepts, prompt, settings=settings, shard_notes=shard_notes)


def adapters_of(notes: Sequence[Note], tuned: str | Path) -> list[str | None]:
    """For each note the adapter of a tuning run that was not tuned on it; None where all of them were.

    The final adapter scores every note that is not a training note.
    """
    seen = set(read_manifest(tuned, "finetune")["seen"])
    blind: dict[str, str] = read_json(Path(tuned) / FOLDS)
    names = [(note.note_id, blind.get(note.note_id, ADAPTER)) for note in notes]
    return [None if name == ADAPTER and note_id in seen else name for note_id, name in names]
