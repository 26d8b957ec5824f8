"""All the heads of a coder, fitted together from out-of-fold concept scores and gold codes.

1. The strength of the aggregator is chosen by cross-validation inside the notes given, patients kept together
   (`held_out_log_odds`). Log losses are summed as they come; the log-odds of all notes are held once, for the
   strength that was chosen.
2. The log-odds of the held-out notes at that strength fit the calibration,
3. and, calibrated (and corrected by which codes occur together, where asked for: `cooccurrence`), the threshold, and
   how far down the list to read for a recall (`recall_cutoff`).
4. With billing orders at hand, the held-out probabilities teach the ranker an order (`ranker_fitting`).
5. The aggregator is fitted again on all the notes, and what these look like to it is kept (`novelty`).

It knows nothing of text or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array

from concept_icd.artifacts import hash_of, read_json, require_finite, sha256, write_json
from concept_icd.corpora.folds import cross_fit, group_folds
from concept_icd.errors import InputError
from concept_icd.heads.aggregator import SHARED, Aggregator, Strength, fit_aggregator, fit_aggregators
from concept_icd.heads.calibration import Calibration, Method, Threshold, choose_threshold, fit_calibration
from concept_icd.heads.cooccurrence import Cooccurrence, fit_cooccurrence
from concept_icd.heads.novelty import Novelty, fit_novelty, numbers_of
from concept_icd.heads.penalised_logistic import BLOCK, ScoreStatistics, log_loss
from concept_icd.heads.ranker import Ranker, ranker_settings, ranker_tensors, read_ranker
from concept_icd.heads.ranker_fitting import GoldOrder, fit_ranker
from concept_icd.heads.ranking_features import PairTable, PathScores
from concept_icd.heads.recall_cutoff import RecallCutoff, fit_recall_cutoff
from concept_icd.outputs import writing
from concept_icd.records import OneLine

#: 2: the weights are sparse. 3: the order may be a learned one. 4: how far to read is fitted.
FORMAT = 4
#: Tried in turn. Neighbours differ little in what they predict, so that a coarse grid is enough.
PATH_STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0)
OTHER_STRENGTHS = (1000.0, 200.0, 40.0)
#: With more concepts x codes than this, "auto" tries path features alone: a weight for every concept and code would
#: take hours (the 50 codes of MIMIC-III-50 with a few hundred concepts are far below, its 8,922 codes far above).
MAX_ALL = 200_000


@dataclass(frozen=True)
class HeadOptions:
    """How the heads are fitted.

    Attributes:
        features: "path" lets a code's own weights use the concepts that cover it; "all" every concept;
            "shared" gives a code no weights of its own: all codes have the same;
            "auto" whichever of the first two has the lower cross-validated log loss, and "path" or "shared" with more
            than `MAX_ALL` = 200,000 concepts x codes.
        calibration: see `fit_calibration`. at_least_one: see `choose_threshold`; None lets the notes decide.
        folds: of the cross-validation. seed: of the folds.
        order: "billing" learns the order of the codes from the order of the gold codes; "none" ranks by probability;
            "auto" learns unless the gold codes of some note are a set (`CodedNote.in_billing_order`).
        dependencies: "combinations" corrects the probabilities by which codes occur together, "none" does not.
    """

    features: Literal["path", "all", "shared", "auto"] = "auto"
    calibration: Method = "platt"
    at_least_one: bool | None = None
    folds: int = 5
    seed: int = 0
    order: Literal["auto", "billing", "none"] = "auto"
    dependencies: Literal["none", "combinations"] = "none"


@dataclass(frozen=True, eq=False, repr=False)
class Heads(OneLine):
    """Aggregator, calibration, threshold, ranker and recall cut-off of one code set.

    Attributes:
        strength: the chosen one. cross_validation: its figures on the held-out notes (log loss per pair of every
            strength tried; micro-F1 at the threshold, which was chosen on the same notes).
    """

    aggregator: Aggregator
    calibration: Calibration
    threshold: Threshold
    ranker: Ranker
    strength: Strength
    cross_validation: dict[str, Any]
    recall_cutoff: RecallCutoff
    cooccurrence: Cooccurrence | None = None
    novelty: Novelty | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The label set, in the order of the columns."""
        return self.ranker.codes

    def predict_proba(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64, shape (notes, codes), from scores of shape (notes, concepts)."""
        p = self.calibration.probabilities(self.aggregator.log_odds(logits))
        return p if self.cooccurrence is None else self.cooccurrence.adjust(p)

    def log_odds(self, logits: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Calibrated log-odds of the codes in these columns alone, shape (notes, columns).

        What other codes add or take (`cooccurrence`) is not among them.
        """
        a = self.aggregator
        own = (a.weights[columns] @ a.standardise(logits).T).T + a.bias[columns]
        found: np.ndarray = self.calibration.slope * own + self.calibration.intercept
        return found

    def novelty_p_values(self, logits: np.ndarray, probabilities: np.ndarray) -> np.ndarray | None:
        """Low where a note is unlike the training notes, float64 (notes,); see `novelty`.

        Args:
            logits: shape (notes, concepts). probabilities: what `predict_proba` gave for them.

        Returns:
            None where heads were fitted before this was known.
        """
        if self.novelty is None:
            return None
        return self.novelty.p_values(numbers_of(self.aggregator, logits, probabilities))

    def rank(
        self, logits: np.ndarray, probabilities: np.ndarray | None = None, text: PairTable | None = None
    ) -> np.ndarray:
        """Order of the codes, int64, shape (notes, codes); see `Ranker`.

        Args:
            logits: shape (notes, concepts). probabilities: what `predict_proba` gave for them, where it is at hand.
            text: features of the notes' text; None: the order that was learnt without.
        """
        p = self.predict_proba(logits) if probabilities is None else probabilities
        return self.ranker.rank(p, self.threshold.accept(p), logits, text)

    def contributions(self, logits: np.ndarray) -> csr_array:
        """Log-odds that each concept adds to each code of one note, after calibration; see `Aggregator`.

        What other codes add or take (`cooccurrence`) is not among them.
        """
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
        write_json(Path(folder) / "heads.json", {**self._settings(), "sha256": sha256(weights)})

    def _tensors(self) -> dict[str, np.ndarray]:
        a = self.aggregator
        w = {"data": a.weights.data, "indices": a.weights.indices, "indptr": a.weights.indptr}
        tensors = {"mean": a.mean, "scale": a.scale, "bias": a.bias, **w, **ranker_tensors(self.ranker)}
        if self.novelty is not None:
            tensors |= self.novelty.tensors()
        # save_file writes the memory as it lies, so that it must lie in rows.
        return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}

    def _settings(self) -> dict[str, Any]:
        cooccurrence = {} if self.cooccurrence is None else {"combinations": self.cooccurrence.settings()}
        return {
            "format": FORMAT,
            "concepts": len(self.aggregator.mean),
            "codes": list(self.codes),
            "strength": _strength(self.strength),
            "calibration": vars(self.calibration),
            "threshold": vars(self.threshold),
            "cross_validation": self.cross_validation,
            "reading": vars(self.recall_cutoff.calibration),
            "order": ranker_settings(self.ranker),
            **cooccurrence,  # what is not there leaves no trace: the hash of coders saved before stays
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
            require_finite(weights, tensors)
            require_finite(path, {name: part for name, part in settings.items() if name != "cross_validation"})
            codes, concepts = tuple(settings["codes"]), settings["concepts"]
            size = len(codes), concepts
            if [tensors[name].shape for name in ("mean", "scale", "bias")] != [size[1:], size[1:], size[:1]]:
                raise InputError(f"{weights} does not have the sizes that heads.json names: fit the coder again")
            sparse = csr_array(tuple(tensors[name] for name in ("data", "indices", "indptr")), shape=size)
            aggregator = Aggregator(tensors["mean"], tensors["scale"], sparse, tensors["bias"])
            strength: dict[str, Any] = {
                key: float("inf") if value is None else value for key, value in settings["strength"].items()
            }
            return cls(
                aggregator,
                Calibration(**settings["calibration"]),
                Threshold(**settings["threshold"]),
                read_ranker(codes, tensors, settings["order"], aggregator),
                Strength(**strength),
                settings["cross_validation"],
                RecallCutoff(Calibration(**settings["reading"])),
                Cooccurrence.read(settings.get("combinations")),
                Novelty.read(tensors),
            )
        except OSError as error:
            raise InputError(f"cannot read {weights}: {error.strerror or error}: fit the coder again") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder} holds damaged heads ({type(error).__name__} on loading): fit it again"
            ) from error


def fit_heads(
    logits: np.ndarray,
    gold: np.ndarray,
    cover: Any,
    levels: Sequence[str],
    codes: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    order: GoldOrder | None = None,
    text: PairTable | None = None,
    options: HeadOptions | None = None,
) -> Heads:
    """Fits every head.

    Args:
        logits: out-of-fold concept scores, shape (notes, concepts). gold: 0/1, shape (notes, codes).
        cover: which concept covers which code, bool, shape (concepts, codes), sparse or not. levels: of the concepts.
        codes: names of the columns. groups: the patient of each note; each note alone where None.
        order: the billing orders to learn from; None: codes are ranked by probability.
        text: features of the notes' text for the ranker, made without the notes of their fold (`folds_of`).

    Raises:
        InputError: shapes that do not fit, a score that is not a number, fewer than two groups, or no positive pair.
    """
    options = options or HeadOptions()
    logits, gold, cover = np.asarray(logits), np.asarray(gold, dtype=bool), csr_array(cover, dtype=bool)
    if (
        logits.shape != (len(gold), cover.shape[0])
        or gold.shape[1:] != cover.shape[1:]
        or len(levels) != cover.shape[0]
    ):
        raise InputError(f"scores {logits.shape}, gold {gold.shape} and concepts x codes {cover.shape} do not fit")
    for number, row in enumerate(logits, start=1):
        if not np.isfinite(row).all():
            raise InputError(f"the scores of note {number} are not all finite")
    fold = folds_of(groups if groups is not None else range(len(gold)), options)
    if len(set(fold.tolist())) < 2:
        raise InputError("the heads need notes of at least two patients to be cross-validated")

    held_out, strength, tried = held_out_log_odds(logits, gold, cover, levels, fold, options)
    calibration = fit_calibration(held_out, gold, options.calibration)
    for start in range(0, len(gold), BLOCK):
        held_out[start : start + BLOCK] = calibration.probabilities(held_out[start : start + BLOCK])
    cooccurrence = None
    if options.dependencies == "combinations":
        cooccurrence, held_out = fit_cooccurrence(gold, held_out, fold)
    source = f"{len(np.unique(fold))}-fold cross-validation on {len(gold)} notes, micro-F1"
    threshold = choose_threshold(gold, held_out, at_least_one=options.at_least_one, source=source)
    figures: dict[str, Any] = {
        "micro_f1": threshold.micro_f1,
        "log_loss": [{**_strength(s), "value": value} for s, value in tried],
    }
    recall_cutoff = fit_recall_cutoff(gold, held_out)
    aggregator = fit_aggregator(logits, gold, cover, levels, strength)
    novelty = fit_novelty(numbers_of(aggregator, logits, held_out))
    learned = None
    if order is not None:
        unit = ScoreStatistics.of(logits, np.arange(len(logits))).unit
        path = PathScores(aggregator.mean, aggregator.scale, unit, tuple(levels), csr_array(cover.T))
        learned, figures["order"] = fit_ranker(
            held_out,
            threshold.accept(held_out),
            order,
            fold,
            tuple(codes),
            path=path,
            logits=logits,
            text=text,
            seed=options.seed,
        )
    ranker = Ranker(tuple(codes), gold.sum(axis=0).astype(np.int64), learned)
    return Heads(aggregator, calibration, threshold, ranker, strength, figures, recall_cutoff, cooccurrence, novelty)


def held_out_log_odds(
    logits: np.ndarray,
    gold: np.ndarray,
    cover: csr_array,
    levels: Sequence[str],
    fold: np.ndarray,
    options: HeadOptions,
) -> tuple[np.ndarray, Strength, list[tuple[Strength, float]]]:
    """Log-odds of every note from aggregators that did not see its fold, at the strength that serves them best.

    Args:
        fold: of each note, int, shape (notes,). The others: see `fit_heads`.

    Returns:
        float32 (notes, codes), not calibrated; the chosen strength; each strength tried with its log loss per pair.
    """
    # Of each strength: its log loss per pair on held-out notes, and the rows and the aggregator of each fold.
    tried: list[tuple[float, Strength, list[tuple[np.ndarray, Aggregator]]]] = []

    def try_all(strengths: list[Strength]) -> None:
        def fit(rows: np.ndarray) -> list[Aggregator]:
            return fit_aggregators(logits, gold, cover, levels, strengths, rows=rows, quick=True)

        found = list(cross_fit(fold, fit, f"fit heads, {len(strengths)} strengths"))
        for number, strength in enumerate(strengths):
            per_fold = [(out, aggregators[number]) for out, aggregators in found]
            loss = sum(_log_loss(aggregator, logits, gold, out) for out, aggregator in per_fold)
            tried.append((loss / gold.size, strength, per_fold))

    def best_of(candidates: Sequence[Any]) -> tuple[Strength, list[tuple[np.ndarray, Aggregator]]]:
        _, strength, per_fold = min(candidates, key=lambda entry: entry[0])
        return strength, per_fold

    many = np.prod(cover.shape) > MAX_ALL
    if options.features != "shared":
        try_all([Strength(path=value) for value in PATH_STRENGTHS])
    if options.features == "shared" or (options.features == "auto" and many):
        try_all([SHARED])
    strength, per_fold = best_of(tried)
    if options.features == "all" or (options.features == "auto" and not many):
        try_all([Strength(path=strength.path, other=value) for value in OTHER_STRENGTHS])
        strength, per_fold = best_of(tried if options.features == "auto" else tried[len(PATH_STRENGTHS) :])
    held_out = np.empty(gold.shape, dtype=np.float32)
    for out, aggregator in per_fold:
        held_out[out] = aggregator.log_odds(logits[out])
    return held_out, strength, [(strength, value) for value, strength, _ in tried]


def folds_of(groups: Sequence[Hashable], options: HeadOptions) -> np.ndarray:
    """The fold of each note in the cross-validation, int, shape (notes,)."""
    return group_folds(groups, options.folds, options.seed)


def _log_loss(aggregator: Aggregator, logits: np.ndarray, gold: np.ndarray, rows: np.ndarray) -> float:
    """Summed over the pairs of these notes, some notes at a time."""
    parts = np.array_split(rows, len(rows) // BLOCK + 1)
    return sum(log_loss(aggregator.log_odds(logits[part]), gold[part]) for part in parts)


def _strength(strength: Strength) -> dict[str, float | bool | None]:
    """For JSON, which has no infinity: None. What was not known to older coders leaves no trace in them."""
    alone: dict[str, float | bool | None] = {"alone": True} if strength.alone else {}
    finite = {name: value if np.isfinite(value) else None for name, value in vars(strength).items() if name != "alone"}
    return finite | alone
