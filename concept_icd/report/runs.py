"""The runs that a comparison is made of: evaluation folders of this package, or anybody's predictions.

An evaluation folder holds `results.json` and, where the pipeline wrote it, `predictions.jsonl`. It holds no gold: that
comes from the corpus, and must be what the folder was measured on. Every run must be of the same notes and labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.artifacts import hash_of, read_json
from concept_icd.errors import InputError
from concept_icd.readers.predictions import Gold, Predictions, read_predictions
from concept_icd.report.alignment import Matrices, align
from concept_icd.report.comparison import System
from concept_icd.report.results import IN_SAMPLE

RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"


@dataclass(frozen=True)
class Run:
    """One run as it is named: `file` holds its predictions, `results` what its folder says (None of a mere file)."""

    name: str
    file: Path
    results: Mapping[str, Any] | None = None

    @property
    def codes(self) -> tuple[str, ...] | None:
        """The label set that its folder was measured on."""
        return None if self.results is None else tuple(row["code"] for row in self.results["codes"])


def find_runs(named: Sequence[str]) -> list[Run]:
    """The runs, `NAME=PATH` or a path; a path alone is called by what sets it apart from the others.

    Raises:
        InputError: no such file, a folder without results or predictions, or one name twice.
    """
    given, paths = list[str](), list[Path]()
    for text in named:
        name, equals, path = text.partition("=")
        is_named = bool(equals and name) and not Path(text).exists()
        given.append(name if is_named else "")
        paths.append(Path(path if is_named else text))
    names = [name or short for name, short in zip(given, _short_names(paths), strict=True)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two runs are called {name!r}; call one by another name: NAME={paths[names.index(name)]}")
    return [_find(name, path) for name, path in zip(names, paths, strict=True)]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The parts of each path that not every path has: "ours" and "plm" of ours/evaluation and plm/predictions.jsonl."""
    parts = [(*path.resolve().parts[:-1], path.name.split(".")[0] or path.resolve().name) for path in paths]
    shared = set(parts[0]).intersection(*parts) | {"evaluation", "predictions"}
    return ["/".join(part for part in own if part not in shared) or own[-1] for own in parts]


def _find(name: str, path: Path) -> Run:
    if not path.is_dir():
        return Run(name, path)
    if not (path / RESULTS).is_file() and (path / "evaluation" / RESULTS).is_file():
        path = path / "evaluation"  # the folder of `concept-icd run`
    if not (path / RESULTS).is_file():
        raise InputError(f"{path} holds no {RESULTS}; a run is an evaluation folder or a file of predictions")
    if not (path / PREDICTIONS).is_file():
        raise InputError(f"{path} holds no {PREDICTIONS}: name the file of predictions that it was made from instead")
    results = read_json(path / RESULTS)
    if not isinstance(results, dict) or not {"codes", "notes_hash", "threshold"} <= results.keys():
        raise InputError(f"{path / RESULTS} is not what `concept-icd evaluate` writes; evaluate again")
    return Run(name, path / PREDICTIONS, results)


def common_codes(runs: Sequence[Run], codes: Sequence[str] | None, named: str) -> tuple[tuple[str, ...] | None, str]:
    """The label set of all runs and in words who named it; None where nothing names one.

    Args:
        codes: as the user or the corpus names them; named: in words, who did. None: as the folders name them.

    Raises:
        InputError: a folder was measured on other labels.
    """
    for run in runs:
        if run.codes is None:
            continue
        if codes is None:
            codes, named = run.codes, f"of {run.name}"
        if set(run.codes) != set(codes):
            shared = len(set(run.codes) & set(codes))
            raise InputError(
                f"{run.name} was measured on another label set: {len(run.codes)} codes, {shared} of them among the "
                f"{len(codes)} {named}"
            )
    return (None if codes is None else tuple(codes)), named


def lay_out(runs: Sequence[Run], gold: Gold, codes: Sequence[str] | None, named: str) -> list[tuple[System, Matrices]]:
    """Reads the predictions and lays them out over the same notes and codes.

    Raises:
        InputError: other notes, other codes, or a folder that was measured on other gold codes.
    """
    labels = codes or {code for note in gold.codes.values() for code in note}
    read = [read_predictions(run.file, labels, gold.classification) for run in runs]
    for run, predictions in zip(runs, read, strict=True):
        _require_same_notes(run, predictions, runs[0], read[0], gold)
        _require_same_codes(run, predictions, runs[0], read[0], codes)
    return [_laid_out(run, predictions, gold, codes, named) for run, predictions in zip(runs, read, strict=True)]


def _laid_out(
    run: Run, predictions: Predictions, gold: Gold, codes: Sequence[str] | None, named: str
) -> tuple[System, Matrices]:
    found = align(predictions, gold, codes, named=named)
    if run.results is not None:
        then = {row["code"]: row["gold"] for row in run.results["codes"]}
        now = dict(zip(found.codes, found.gold.sum(axis=0).tolist(), strict=True))
        changed = sorted(code for code in now if now[code] != then[code])
        if changed:
            raise InputError(
                f"{run.name} was measured on other gold codes: {changed[0]} is gold in {then[changed[0]]} notes there "
                f"and in {now[changed[0]]} of --gold ({len(changed)} codes differ); evaluate it again on this gold"
            )
    threshold = 0.5 if run.results is None or run.results["threshold"] is None else run.results["threshold"]
    if found.decisions is not None:
        decisions, source = found.decisions, "the predictions' own accepted flags"
    elif found.probabilities is not None:
        decisions = found.probabilities >= threshold
        source = f"p >= {threshold:.4g}, " + ("not tuned" if run.results is None else run.results["threshold_source"])
    else:
        raise InputError(f"{run.file} holds neither probabilities nor decisions")
    share = found.unnamed / found.gold.size
    unnamed = f"; {share:.1%} of the pairs are not named: probability 0, ranked last" if found.unnamed else ""
    is_in_sample = "IN-SAMPLE" in str(predictions.versions.get("heads_fitted_on", ""))
    stamps = (IN_SAMPLE,) if is_in_sample else ()
    accepted_at, depths = source + unnamed, found.depths
    return System(run.name, found.probabilities, decisions, found.scores, accepted_at, stamps, depths), found


def _require_same_notes(run: Run, predictions: Predictions, first: Run, others: Predictions, gold: Gold) -> None:
    if run.results is not None and hash_of(sorted(predictions.note_ids)) != run.results["notes_hash"]:
        raise InputError(f"{RESULTS} and {PREDICTIONS} of {run.name} are of different notes: evaluate it again")
    notes, theirs = ({*found.note_ids} - gold.others for found in (predictions, others))
    if apart := sorted(notes ^ theirs):
        raise InputError(
            f"{run.name} and {first.name} are of different notes: {len(apart)} are in one alone, such as {apart[0]!r}"
        )
    if apart := sorted(notes ^ gold.codes.keys()):
        raise InputError(
            f"{run.name} and the gold are of different notes: {len(apart)} are in one alone, such as {apart[0]!r}; "
            "--split names the split of a prepared corpus"
        )


def _require_same_codes(
    run: Run, predictions: Predictions, first: Run, others: Predictions, codes: Sequence[str] | None
) -> None:
    if codes is not None:
        if extra := sorted({*predictions.codes} - {*codes}):
            raise InputError(
                f"{run.name} predicts over another label set: {len(extra)} of its codes are not among the "
                f"{len(codes)} that are measured, such as {extra[0]}"
            )
    elif apart := sorted({*predictions.codes} ^ {*others.codes}):
        raise InputError(
            f"{run.name} and {first.name} have other label sets: {len(apart)} codes are named by one alone, such as "
            f"{apart[0]}; name the label set with --codes, if both were made for it"
        )
