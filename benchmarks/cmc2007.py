"""CMC 2007: eleven systems in the same 5 folds, 3 seeds.

    python benchmarks/cmc2007.py --data-dir DATA --work runs/bench-cmc2007 --out benchmarks/results/cmc2007.json

`tfidf_svm`: TF-IDF and linear SVMs. `words`: boosted trees on tagged words alone. `terms`: what the classification
calls the codes (titles, inclusion terms, index), found in the report, alone. `concepts`: the concept scores alone.
`concepts_averaged`: of each held-out report the mean score over all adapters of the fold. `words_aggregated`: the trees
alone, through the aggregator; `lexical`: trees and terms. `concepts_words`, `concepts_terms`, `concepts_words_terms`:
with the concept scores, stacked; `all_combinations`: the last, corrected by which codes occur together.

DATA holds cmc2007, and icd9cm with the files of NCHS. Only the 978 coded reports are used (the challenge's test codes
are held back). Every fold runs everything on its own training reports: adapters for out-of-fold scores, the final
adapter, trees, terms' weights, heads, thresholds; the held-out reports are coded once. A seed has its own folds and
trainings; its figures pool the 978 held-out decisions; codes that a fold's training reports do not have count as
missed. Folds run side by side (`--jobs`), each on one thread, and a killed run goes on where it stopped. The base model
has seen the reports' text without codes (see its card), not their codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, arguments, figures_of, finish, heads_of, over_seeds, parser_of, side_by_side, tell
from scipy.special import expit

from concept_icd import metrics
from concept_icd.artifacts import read_json
from concept_icd.corpora import read_cmc2007
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.experts.expert import Expert, ExpertRecipe
from concept_icd.experts.terms import TermRecipe
from concept_icd.experts.words import ROUNDS, WordRecipe
from concept_icd.metrics.intervals import draw_weights, drawn_decisions, interval
from concept_icd.ontology.nchs import lists_and_indexes
from concept_icd.outputs import new_file
from concept_icd.records import CodedNote

SYSTEMS = ("tfidf_svm", "words", "terms", "concepts", "concepts_averaged", "words_aggregated", "lexical",
           "concepts_words", "concepts_terms", "concepts_words_terms", "all_combinations")  # fmt: skip
FIGURES = ("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_f1_present", "macro_f1_caml",
           "exact_match", "micro_auc", "macro_auc", "map", "precision_at_5", "rank_errors_at_100")  # fmt: skip
#: Folder of a fold's coder of the kind that is shipped: concept scores, words and terms, and code combinations.
STACKED = "coder_stacked"
#: A code is rare when at most this many of the 978 reports have it.
RARE = 6
CONFIG = "radiology"


def reports(folder: Path, limit: int | None = None) -> list[CodedNote]:
    """The coded reports, or about so many of them, evenly spread."""
    notes = [note for note in read_cmc2007(folder) if note.codes]
    return notes if limit is None else notes[:: max(1, len(notes) // limit)]


def split(notes: list[CodedNote], seed: int, fold: int, folds: int) -> list[CodedNote]:
    """The reports with splits: one fold is test, the others train."""
    fold_of = group_folds([note.note.note_id for note in notes], folds, seed)
    return [replace(n, split="test" if f == fold else "train") for n, f in zip(notes, fold_of, strict=True)]


def run_fold(
    notes: list[CodedNote], folder: Path, seed: int, options: list[str], recipes: Sequence[ExpertRecipe]
) -> None:
    """All systems on one fold.

    Leaves systems.npz, of each the probabilities and decisions of the fold's test reports, and the coder of all
    experts.
    """
    from concept_icd.pipeline import run_pipeline

    run_pipeline(notes, folder, ["--config", CONFIG, *options], title=f"CMC 2007, {folder.name}", seed=seed)
    train, test = ([note for note in notes if note.split == name] for name in ("train", "test"))
    codes = sorted({code for note in notes for code in note.codes})
    found: dict[str, np.ndarray] = {}
    systems = tfidf_svm(train, test, seed) | stacked(folder, train, test, recipes)
    for name, (own, probabilities, accepted) in systems.items():
        columns = [codes.index(code) for code in own]
        for kind, values in (("probabilities", probabilities), ("accepted", accepted)):
            found[f"{name}.{kind}"] = np.zeros((len(test), len(codes)), dtype=values.dtype)
            found[f"{name}.{kind}"][:, columns] = values
    with new_file(folder / "systems.npz") as staging, staging.open("wb") as file:
        np.savez_compressed(file, **found)


#: Of a system: its codes, probabilities and decisions of the test reports, shape (reports, codes).
Decided = tuple[Sequence[str], np.ndarray, np.ndarray]


def tfidf_svm(train: list[CodedNote], test: list[CodedNote], seed: int) -> dict[str, Decided]:
    from concept_icd.baselines.tfidf_svm import TfidfSvm

    codes = sorted({code for note in train for code in note.codes})
    gold, groups = gold_matrix([note.note.note_id for note in train], train, codes)
    model = TfidfSvm.fit([note.note.text for note in train], gold, groups, seed=seed)
    probabilities = model.predict_proba([note.note.text for note in test])
    return {"tfidf_svm": (codes, probabilities, model.threshold.accept(probabilities))}


def stacked(
    folder: Path, train: list[CodedNote], test: list[CodedNote], recipes: Sequence[ExpertRecipe]
) -> dict[str, Decided]:
    """What the experts say alone and together, with the fold's scores."""
    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.experts.expert import join, means, with_experts
    from concept_icd.heads.calibration import choose_threshold
    from concept_icd.heads.fitting import HeadOptions, folds_of
    from concept_icd.scoring.adapters import plan_scoring
    from concept_icd.scoring.specs import ADAPTER
    from concept_icd.scoring.store import load_scores

    coder, scores = ConceptCoder.from_pretrained(folder / "coder"), load_scores(folder / "scores")
    ids = {"train": [coded.note.note_id for coded in train], "test": [coded.note.note_id for coded in test]}
    own = {name: scores.select(notes) for name, notes in ids.items()}
    codes, options = coder.concepts.codes, HeadOptions(order="none")
    gold, patients = gold_matrix(ids["train"], train, codes)
    new_notes = [coded.note for coded in test]
    adapters = plan_scoring(new_notes, folder / "tuned", average=True).specs[ADAPTER]
    mean = adapters.make().score(new_notes, coder.concepts)
    found: dict[str, Decided] = {}
    for name, new in (("concepts", own["test"]), ("concepts_averaged", mean)):
        p = coder.predict_proba(new)
        found[name] = (codes, p, coder.heads.threshold.accept(p))

    experts: dict[str, Expert] = {}
    said: dict[str, dict[str, np.ndarray]] = {}
    for recipe in recipes:
        expert, held_out = recipe.fit(train, gold, coder.concepts, folds_of(patients, options), options.seed)
        experts[expert.level], said[expert.level] = expert, {"train": held_out, "test": expert.log_odds(new_notes)}
        columns = [codes.index(code) for code in expert.codes]
        p, new = expit(held_out), expit(said[expert.level]["test"])
        threshold = choose_threshold(gold[:, columns], p, at_least_one=None, source="out-of-fold")
        found[expert.level] = (expert.codes, new, threshold.accept(new))

    for name, names, with_scores, dependencies in (
        ("words_aggregated", ("words",), False, "none"),
        ("lexical", ("words", "terms"), False, "none"),
        ("concepts_words", ("words",), True, "none"),
        ("concepts_terms", ("terms",), True, "none"),
        ("concepts_words_terms", ("words", "terms"), True, "none"),
        ("all_combinations", ("words", "terms"), True, "combinations"),
    ):
        concepts = with_experts(coder.concepts, [experts[expert] for expert in names])
        fill = means([said[expert]["train"] for expert in names])
        joint = {part: join(own[part], concepts, [said[expert][part] for expert in names], fill) for part in own}
        first = 0 if with_scores else len(coder.concepts)
        used = replace(concepts, concepts=concepts.concepts[first:])
        scored = joint["train"].logits[:, first:]
        heads = heads_of(scored, gold, used, groups=patients, options=replace(options, dependencies=dependencies))
        p = heads.predict_proba(joint["test"].logits[:, first:])
        found[name] = (codes, p, heads.threshold.accept(p))
        if name == "all_combinations":
            kept = tuple(experts[expert] for expert in names)
            stacked = replace(coder, concepts=concepts, heads=heads, experts=kept)
            stacked.save_pretrained(folder / STACKED, overwrite=True)
    return found


def collect(
    notes: list[CodedNote], work: Path, seed: int, folds: int, codes: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """System -> probabilities and decisions of all reports, (notes, codes), from the folds' files."""
    shape = (len(notes), len(codes))
    systems = {name: (np.zeros(shape), np.zeros(shape, dtype=bool)) for name in SYSTEMS}
    for fold in range(folds):
        rows = [row for row, note in enumerate(split(notes, seed, fold, folds)) if note.split == "test"]
        found = np.load(work / f"seed-{seed}-fold-{fold}" / "systems.npz")
        for name, (probabilities, accepted) in systems.items():
            probabilities[rows], accepted[rows] = found[f"{name}.probabilities"], found[f"{name}.accepted"]
    return systems


def figures_and_rare(gold: np.ndarray, probabilities: np.ndarray, accepted: np.ndarray) -> dict[str, float]:
    """Those of all codes, and some of the rare ones."""
    found, rare = figures_of(gold, probabilities, accepted), gold.sum(axis=0) <= RARE
    of_rare = metrics.decision_metrics(gold[:, rare], accepted[:, rare])
    few = {f"rare_{name}": of_rare[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml")}
    return {name: found[name] for name in FIGURES} | few


def paired_difference(
    gold: np.ndarray, a: list[np.ndarray], b: list[np.ndarray] | None, draws: int = 2000
) -> dict[str, float]:
    """Mean over seeds of micro-F1(a) - micro-F1(b), without b of micro-F1(a), with its 95 % interval over reports."""
    weights = draw_weights(None, len(gold), draws, 0)

    def f1(decided: list[np.ndarray]) -> np.ndarray:
        return np.mean([drawn_decisions(gold, accepted, weights)["micro_f1"] for accepted in decided], axis=0)

    samples = f1(a) if b is None else f1(a) - f1(b)
    return {"difference": float(samples[0])} | interval(samples, "share" if b is None else "plain")


def summarise(notes: list[CodedNote], work: Path, seeds: list[int], folds: int) -> dict[str, Any]:
    codes = sorted({code for note in notes for code in note.codes})
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, codes)
    per_seed = [collect(notes, work, seed, folds, codes) for seed in seeds]
    systems = {name: over_seeds([figures_and_rare(gold, *own[name]) for own in per_seed]) for name in SYSTEMS}
    levels: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        for fold in range(folds):
            found = read_json(work / f"seed-{seed}-fold-{fold}" / "evaluation" / "results.json")["extra"]["levels"]
            for level, values in found.items():
                for figure, value in values.items():
                    levels.setdefault(level, {}).setdefault(figure, []).append(value)
    decided = {name: [systems_of[name][1] for systems_of in per_seed] for name in SYSTEMS}
    return {
        "notes": len(notes),
        "codes": len(codes),
        "gold_labels": int(gold.sum()),
        "rare_codes": int((gold.sum(axis=0) <= RARE).sum()),
        "systems": systems,
        "micro_f1_intervals": {name: paired_difference(gold, own, None) for name, own in decided.items()},
        "micro_f1_differences": {
            f"{a} - {b}": paired_difference(gold, decided[a], decided[b])
            for place, a in enumerate(SYSTEMS)
            for b in SYSTEMS[:place]
        },
        "levels_mean_over_folds": {
            level: {figure: float(np.mean([v for v in values if v is not None])) for figure, values in table.items()}
            for level, table in levels.items()
        },
    }


def main() -> None:
    parser = parser_of(__doc__, (0, 1, 2), data=True, work="runs/bench-cmc2007", folds=5, rounds=ROUNDS, jobs=2)
    parser.add_argument("--limit", type=int, help="of the reports")
    parser.add_argument("--only", metavar="SEED,FOLD", help="one fold, in this process")
    parser.add_argument("--options", default="", help="tuning options that override the config, as one string")
    args = arguments(parser)
    notes = reports(args.data_dir / "cmc2007", args.limit)
    if args.only:
        seed, fold = map(int, args.only.split(","))
        folder = args.work / f"seed-{seed}-fold-{fold}"
        recipes = [WordRecipe(args.rounds), TermRecipe.read(*lists_and_indexes(args.data_dir))]
        run_fold(split(notes, seed, fold, args.folds), folder, seed, args.options.split(), recipes)
        return
    every = [(seed, fold) for seed in args.seeds for fold in range(args.folds)]
    results = {f"{seed},{fold}": args.work / f"seed-{seed}-fold-{fold}" / "systems.npz" for seed, fold in every}
    side_by_side(results, args.work, args.jobs)
    summary = summarise(notes, args.work, args.seeds, args.folds)
    config = (ROOT / "configs" / f"{CONFIG}.yaml").read_text().splitlines()
    for name, figures in summary["systems"].items():
        tell(name, {k: f"{v['mean']:.4f} +- {v['sd'] or 0:.4f}" for k, v in figures.items()})
    about = {"seeds": args.seeds, "folds": args.folds, "config": config}
    finish(args, about | summary, DATA=args.data_dir, WORK=args.work)


if __name__ == "__main__":
    main()
