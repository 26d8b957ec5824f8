"""Scores a corpus with the adapters of a tuning run: each note by one that was not tuned on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_manifest, read_record
from concept_icd.errors import InputError, extras
from concept_icd.llm.prompts import PromptTemplate, checked_note_text
from concept_icd.llm.reference import ModelReference, members_of
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.progress import say
from concept_icd.records import Note, OneLine, require_notes
from concept_icd.scoring.batch_sizes import DEFAULTS, sizes_before_loading
from concept_icd.scoring.executors import Executor
from concept_icd.scoring.scorer import QuestionPlan
from concept_icd.scoring.specs import ADAPTER, CONCEPTS, FOLDS, PROMPT, Kind, ScorerSpec
from concept_icd.scoring.store import Job, begun_settings, fill_store


def score_corpus(
    notes: Sequence[Note],
    tuned: str | Path,
    folder: str | Path,
    *,
    concepts: ConceptSet | None = None,
    plan: QuestionPlan | None = None,
    executor: Executor | None = None,
    in_sample: bool = False,
    average: bool | None = None,
    shard_notes: int = 64,
    model: str | Path | None = None,
    kind: Kind = "packed",
    url: str | None = None,
    **options: Any,
) -> bool:
    """Fills the store `folder` with the scores of `notes` under the tuning run `tuned`.

    A note that the final adapter was tuned on is scored by the adapter of its fold; every other note by the final one,
    or where `average` says so by the mean over all adapters of the run. Notes that every adapter was tuned on, as most
    are after a run with a holdout, are left out, which stderr is told.

    Args:
        concepts: by default those of the tuning. plan, executor, shard_notes: see `fill_store`.
        in_sample: score the notes that no adapter is blind to all the same; heads will refuse the result.
        average: by default as the tuning run says. kind, url: see `ScorerSpec`.
        model: the base model in the place of the tuning's: where it is now, or a quantised copy.
        options: go to the scorer's `from_pretrained`; max_length and note_text are those of the tuning by default,
            chunk_tokens and batch_tokens those that the store was begun with.

    Returns:
        Whether there was anything to do.

    Raises:
        InputError: the run is not complete, or every note was seen by every adapter and `in_sample` is False.
    """
    if executor is None and kind in ("packed", "vllm") and not options.get("dtype"):
        options |= _half_on_gpu(options.get("device"))
    begun = begun_settings(folder)
    if kind == "packed" and begun is not None:  # the same notes go through the model together, as in an unbroken run
        options = {name: begun.get(name, size) for name, size in DEFAULTS.items()} | options
    where: dict[str, Any] = {"model": model, "kind": kind, "url": url}
    scoring = plan_scoring(notes, tuned, concepts=concepts, in_sample=in_sample, average=average, **where, **options)
    for name, size in DEFAULTS.items():
        if begun is not None and name not in begun and scoring.settings.get(name) == size:
            del scoring.settings[name]  # which a store of version 0.2.0 or before does not name
    if scoring.left_out:
        say(f"left out: {scoring.left_out_of(len(notes))}")
    jobs = [Job(name, group, scoring.specs[name]) for name, group in scoring.notes.items()]
    return fill_store(
        folder,
        jobs,
        scoring.concepts,
        scoring.prompt,
        settings=scoring.settings,
        shard_notes=shard_notes,
        plan=plan,
        executor=executor,
    )


@dataclass(frozen=True, repr=False)
class Scoring(OneLine):
    """Who scores what: by the name of its adapter, each scorer and its notes.

    Attributes:
        settings: what decides the scores beside notes, concepts and prompt.
        left_out: how many notes are not scored because every adapter was tuned on them.
    """

    specs: dict[str, ScorerSpec]
    notes: dict[str, list[Note]]
    concepts: ConceptSet
    prompt: PromptTemplate
    settings: dict[str, Any]
    left_out: int = 0

    def left_out_of(self, notes: int) -> str:
        """What is left out of so many notes, in words."""
        return f"{self.left_out} of {notes} notes, which every adapter was tuned on (--in-sample scores them too)"

    @property
    def adapters(self) -> int:
        """How many adapters read something."""
        return len({member for spec in self.specs.values() for member in members_of(spec.adapter or "")})


def plan_scoring(
    notes: Sequence[Note],
    tuned: str | Path,
    *,
    concepts: ConceptSet | None = None,
    in_sample: bool = False,
    average: bool | None = None,
    model: str | Path | None = None,
    kind: Kind = "packed",
    url: str | None = None,
    **options: Any,
) -> Scoring:
    """What `score_corpus` does, before it is done; it loads no model.

    Raises:
        InputError: see `score_corpus`.
    """
    manifest, tuned = read_manifest(tuned, "finetune"), Path(tuned)
    tuning: dict[str, Any] = manifest["config"]
    base = str(model or tuning["model_name_or_path"])
    if tuning["load_in_4bit"]:
        options = {"load_in_4bit": True} | options
    # A note is read as it was in tuning, unless the caller says otherwise.
    options["max_length"] = options.get("max_length") or tuning.get("max_length")
    options["note_text"] = checked_note_text(options.get("note_text") or tuning.get("note_text", "whole"))
    groups: dict[str, list[Note]] = {}
    leaked = 0
    notes = require_notes(notes)
    for note, name in zip(notes, adapters_of(notes, tuned), strict=True):
        leaked += name is None
        if name is not None or in_sample:
            groups.setdefault(name or ADAPTER, []).append(note)
    if notes and not groups:
        raise InputError(
            f"all {leaked} notes were seen by every adapter of {tuned}: name others (such as --splits dev), tune with "
            "folds or a holdout, or pass --in-sample and accept that heads cannot be fitted on the scores"
        )
    if average is None:
        average = tuning.get("average", False)
    # All adapters of the run lie in its folder.
    folders = {name: tuned if average and name == ADAPTER else tuned / name for name in (ADAPTER, *groups)}
    settings = {
        "scorer": kind,
        "model": base,
        "adapter": str(folders[ADAPTER]),
        "weights": {name: ModelReference.of(base, folders[name]).hash for name in sorted(groups)},
        "load_in_4bit": bool(options.get("load_in_4bit")),
        "max_length": options["max_length"],
        "note_text": options["note_text"],
        "dtype": options.get("dtype"),
        "out_of_fold": not (leaked and in_sample),
    }
    prompt = PromptTemplate.load(tuned / PROMPT)
    if kind == "packed":
        loading: dict[str, Any] = {name: options.get(name) for name in ("device", "dtype", "load_in_4bit")}
        readings = max((len(members_of(folders[name])) for name in groups), default=1)
        if missing := [name for name in DEFAULTS if not options.get(name)]:
            chosen = sizes_before_loading(base, readings=readings, **loading)
            options |= {name: chosen[name] for name in missing}
        settings |= {name: options[name] for name in DEFAULTS}
    return Scoring(
        specs={name: ScorerSpec(kind, base, str(folders[name]), prompt, options, url) for name in groups},
        notes=dict(sorted(groups.items())),
        concepts=concepts or ConceptSet.load(tuned / CONCEPTS),
        prompt=prompt,
        settings=settings,
        left_out=0 if in_sample else leaked,
    )


def _half_on_gpu(device: str | None) -> dict[str, str]:
    """The precision that a scorer here takes by itself on a GPU, said aloud, so that the store and its coder say it."""
    with extras():
        import torch
    on_gpu = torch.cuda.is_available() and (device or "cuda").startswith("cuda")
    return {"dtype": "bfloat16"} if on_gpu else {}


def adapters_of(notes: Sequence[Note], tuned: str | Path) -> list[str | None]:
    """For each note the adapter of a tuning run that was not tuned on it; None where all of them were.

    The final adapter scores every note that is not a training note.
    """
    seen = set(read_manifest(tuned, "finetune")["seen"])
    blind = read_record(Path(tuned) / FOLDS)
    names = [(note.note_id, blind.get(note.note_id, ADAPTER)) for note in notes]
    return [None if name == ADAPTER and note_id in seen else name for note_id, name in names]
