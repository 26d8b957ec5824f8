"""All the heads of a coder, fitted together from out-of-fold concept scores and gold codes.

1. The strength of the aggregator is chosen by cross-validation inside the notes given, patients kept together.
2. The log-odds of the held-out notes at that strength fit the calibration,
3. and, calibrated, the threshold.
4. The aggregator is fitted again on all the notes.

It knows nothing of text or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from concept_icd.artifacts import hash_of, read_json, sha256, write_json, writing
from concept_icd.errors import InputError
from concept_icd.folds import group_folds
from concept_icd.heads.aggregator import Aggregator, Strength, fit_aggregator, fit_aggregators
from concept_icd.heads.calibration import Calibration, Method, fit_calibration
from concept_icd.heads.ranker import ProbabilityRanker
from concept_icd.heads.threshold import Threshold, choose_threshold

FORMAT = 1
#: Tried in turn. Neighbours differ little in what they predict, so that a coarse grid is enough.
PATH_STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0)
OTHER_STRENGTHS = (1000.0, 200.0, 40.0)


@dataclass(frozen=True)
class HeadOptions:
    """How the heads are fitted.

    Attributes:
        features: "path" lets a code's own weights use the concepts that cover it; "all" every concept;
            "auto" whichever has the lower cross-validated log loss.
        calibration: see `fit_calibration`. at_least_one: see `choose_threshold`; None lets the notes decide.
        folds: of the cross-validation. seed: of the folds.
    """

    features: Literal["path", "all", "auto"] = "auto"
    calibration: Method = "platt"
    at_least_one: bool | None = None
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Heads:
    """Aggregator, calibration, threshold and ranker of one code set.

    Attributes:
        strength: the chosen one. cross_validation: its figures on the held-out notes (log loss per pair of every
            strength tried; micro-F1 at the threshold, which was chosen on the same notes).
    """

    aggregator: Aggregator
    calibration: Calibration
    threshold: Threshold
    ranker: ProbabilityRanker
    strength: Strength
    cross_validation: dict[str, Any]

    @property
    def codes(self) -> tuple[str, ...]:
        """The label set, in the order of the columns."""
        return self.ranker.codes

    def predict_proba(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64, shape (notes, codes), from scores of shape (notes, concepts)."""
        return self.calibration.probabilities(self.aggregator.log_odds(logits))

    def contributions(self, logits: np.ndarray) -> np.ndarray:
        """Log-odds that each concept adds to each code of one note, shape (concepts, codes), after calibration."""
        return self.calibration.slope * self.aggregator.contributions(logits)

    @property
    def hash(self) -> str:
        """Hex digest of all numbers and settings."""
        digest = hashlib.sha256(hash_of(self._settings()).encode())
        for tensor in self._tensors().values():
            digest.update(tensor.tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """Writes `heads.safetensors` and `heads.json` into an existing folder."""
        from safetensors.numpy import save_file

        weights = Path(folder) / "heads.safetensors"
        with writing(weights):
            save_file(self._tensors(), weights)
            weights.chmod(0o644)  # safetensors writes for the owner alone
        write_json(Path(folder) / "heads.json", {**self._settings(), "sha256": sha256(weights)})

    def _tensors(self) -> dict[str, np.ndarray]:
        a = self.aggregator
        tensors = {"mean": a.mean, "scale": a.scale, "weights": a.weights, "bias": a.bias}
        # save_file writes the memory as it lies, so that it must lie in rows.
        return {name: np.ascontiguousarray(t) for name, t in {**tensors, "frequency": self.ranker.frequency}.items()}

    def _settings(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "concepts": len(self.aggregator.mean),
            "codes": list(self.codes),
            "strength": {"path": _finite(self.strength.path), "other": _finite(self.strength.other)},
            "calibration": vars(self.calibration),
            "threshold": vars(self.threshold),
            "cross_validation": self.cross_validation,
        }

    @classmethod
    def load(cls, folder: str | Path) -> Heads:
        """Reads what `save` wrote.

        Raises:
            InputError: a file is missing, damaged, or from another format version.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path, weights = Path(folder) / "heads.json", Path(folder) / "heads.safetensors"
        settings = read_json(path)
        if not isinstance(settings, dict) or settings.get("format") != FORMAT:
            found = settings.get("format") if isinstance(settings, dict) else None
            raise InputError(f"{path} has format {found}, this version reads {FORMAT}: fit the coder again")
        try:
            if sha256(weights) != settings["sha256"]:
                raise InputError(f"{weights} is damaged (its checksum is not the one in heads.json): fit it again")
            tensors = load_file(weights)
            codes, concepts = tuple(settings["codes"]), settings["concepts"]
            aggregator = Aggregator(*(tensors[name] for name in ("mean", "scale", "weights", "bias")))
            if aggregator.weights.shape != (concepts, len(codes)) or aggregator.bias.shape != (len(codes),):
                raise InputError(f"{weights} does not have the sizes that heads.json names: fit the coder again")
            strength = {key: float("inf") if value is None else value for key, value in settings["strength"].items()}
            return cls(
                aggregator,
                Calibration(**settings["calibration"]),
                Threshold(**settings["threshold"]),
                ProbabilityRanker(codes, tensors["frequency"]),
                Strength(**strength),
                settings["cross_validation"],
            )
        except OSError as error:
            raise InputError(f"cannot read {weights}: {error.strerror or error}: fit the coder again") from error
        except (SafetensorError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} holds damaged heads ({type(error).__name__} on loading): fit it again"
            ) from error


def fit_heads(
    logits: np.ndarray,
    gold: np.ndarray,
    cover: np.ndarray,
    levels: Sequence[str],
    codes: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    options: HeadOptions | None = None,
) -> Heads:
    """Fits every head.

    Args:
        logits: out-of-fold concept scores, shape (notes, concepts). gold: 0/1, shape (notes, codes).
        cover: which concept covers which code, bool, shape (concepts, codes). levels: of the concepts.
        codes: names of the columns. groups: the patient of each note; each note alone where None.

    Raises:
        InputError: shapes that do not fit, a score that is not a number, fewer than two groups, or no positive pair.
    """
    options = options or HeadOptions()
    logits, gold, cover = np.asarray(logits), np.asarray(gold).astype(bool), np.asarray(cover, dtype=bool)
    if logits.shape != (len(gold), len(cover)) or cover.shape[1] != gold.shape[1] or len(levels) != len(cover):
        raise InputError(f"scores {logits.shape}, gold {gold.shape} and concepts x codes {cover.shape} do not fit")
    if not np.isfinite(logits).all():
        raise InputError(f"the scores of note {int(np.argwhere(~np.isfinite(logits))[0, 0]) + 1} are not all finite")
    fold = group_folds(groups if groups is not None else range(len(gold)), options.folds, options.seed)
    if len(set(fold.tolist())) < 2:
        raise InputError("the heads need notes of at least two patients to be cross-validated")

    def held_out(strengths: list[Strength]) -> list[np.ndarray]:
        """For each strength the log-odds of every note by an aggregator that did not see it."""
        odds = [np.zeros(gold.shape) for _ in strengths]
        for f in np.unique(fold):
            out = fold == f
            fitted = fit_aggregators(logits[~out], gold[~out], cover, levels, strengths, tolerance=1e-7)
            for one, aggregator in zip(odds, fitted, strict=True):
                one[out] = aggregator.log_odds(logits[out])
        return odds

    tried: list[tuple[float, Strength, np.ndarray]] = []

    def try_all(strengths: list[Strength]) -> Strength:
        for strength, odds in zip(strengths, held_out(strengths), strict=True):
            tried.append((float(np.mean(np.logaddexp(0.0, odds) - gold * odds)), strength, odds))
        return min(tried[-len(strengths) :], key=lambda entry: entry[0])[1]

    best = try_all([Strength(path=value) for value in PATH_STRENGTHS])
    candidates = tried
    if options.features != "path":
        path_only = list(tried)
        try_all([Strength(path=best.path, other=value) for value in OTHER_STRENGTHS])
        candidates = tried if options.features == "auto" else tried[len(path_only) :]
    _, strength, odds = min(candidates, key=lambda entry: entry[0])

    calibration = fit_calibration(odds, gold, options.calibration)
    source = f"{len(set(fold.tolist()))}-fold cross-validation on {len(gold)} notes, micro-F1"
    threshold = choose_threshold(
        gold, calibration.probabilities(odds), at_least_one=options.at_least_one, source=source
    )
    figures = {
        "micro_f1": threshold.micro_f1,
        "log_loss": [{"path": _finite(s.path), "other": _finite(s.other), "value": v} for v, s, _ in tried],
    }
    ranker = ProbabilityRanker(tuple(codes), gold.sum(axis=0).astype(np.int64))
    aggregator = fit_aggregator(logits, gold, cover, levels, strength)
    return Heads(aggregator, calibration, threshold, ranker, strength, figures)


def _finite(value: float) -> float | None:
    """JSON has no infinity: None."""
    return value if np.isfinite(value) else None
