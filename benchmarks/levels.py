"""Where concepts above the code (chapter, section, category, subcategory) pay: codes with and without them.

    python benchmarks/levels.py --data-dir DATA --work runs/bench-levels --out benchmarks/results/levels.json

Every row tunes the tiny model twice on the same notes, once asked about all five levels, once about codes alone, and
decides the same other notes in three ways:

- `levels`: tuned with all levels, and the heads read all of them;
- `tuned_with`: tuned with all levels, but the heads read the scores of the codes alone;
- `codes`: tuned and read with codes alone.

`levels` minus `codes` is what the levels bring, `tuned_with` minus `codes` the part that tuning on them brings, and
`levels` minus `tuned_with` the part of the heads. The rows:

- `notes-N`: CMC 2007; N reports tune, as many others (200 at most) fit the heads, all the rest are decided. The reports
  are dealt out anew for each seed. Rare: at most 6 of the 978 reports (22 codes).
- `untrained-400`: the same with the tiny model's shape and random weights, the weakest base there is.
- `unseen`: CMC 2007; the codes of 8 to 60 reports with another code in their section are dealt to three groups; of a
  group no report tunes or fits, 400 others tune (questions in words, 3 epochs), 150 fit one logistic regression whose
  weights all codes share (the code's own score, or the scores of its levels), all the rest are decided. Area under the
  curve of the held-out codes, and the share of their gold pairs among the first 3 and 5 of a report's 45 codes.
- `codiesp9-rare50`, `codiesp9-50`: long notes; the training cases tune, heads are cross-validated on the dev cases,
  which are what is decided. Test cases are left alone.

`hierarchy` is the hierarchy in the head, on the scores of each row's `levels`: per code a logistic regression of its
levels' scores, its weights held to those that all codes share (`flat`), or to its category's, held to its chapter's,
held to those that all share (`nested`); how strongly, cross-validated on the notes that fit, by log loss.

With few notes there are more epochs or smaller batches, for 75 steps at least; the same in both settings. Nothing was
chosen by these figures. Intervals leave out reports and hold the trainings fixed; a report that several seeds or groups
decide is left out of all of them. A killed run goes on where it stopped, and rows that --out has already are kept.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablations import LEVELS, untrained
from cmc2007 import RARE, reports
from common import arguments, command_of, finish, heads_of, parser_of, tell
from hierarchy import fit_blocks, pair_features
from scipy.special import expit

from concept_icd.artifacts import read_json
from concept_icd.corpora import load_corpus
from concept_icd.corpora.codiesp_tasks import prepare_codiesp
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.fitting import HeadOptions
from concept_icd.metrics.auc import resampled_macro_auc, resampled_micro_auc
from concept_icd.metrics.intervals import draw_weights, drawn_decisions, drawn_means, interval
from concept_icd.metrics.ranking import gold_ranks, note_ranking
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import MANIFEST, new_file
from concept_icd.records import CodedNote

#: What the adapter is asked about, by the name of its scores.
ASKED: dict[str, tuple[str, ...]] = {"levels": LEVELS, "codes": ("code",)}
#: Of each way to decide: whose scores, and the levels that the heads read.
WAYS = {"levels": ("levels", LEVELS), "tuned_with": ("levels", ("code",)), "codes": ("codes", ("code",))}
DIFFERENCES = (("levels", "codes"), ("tuned_with", "codes"), ("levels", "tuned_with"))
#: Options of tuning by the number of reports, for 75 steps at least.
STEPS = {50: "--num_train_epochs 12 --per_device_train_batch_size 8", 100: "--num_train_epochs 12", 200: "", 400: ""}
HEADS, UNSEEN_HEADS, GROUPS, FOLDS = 200, 150, 3, 5
UNSEEN_REPORTS = (8, 60)
#: Of the hierarchy in the head: what a code's weights are held to, widest first.
BLOCKS = {"flat": ("all", "code"), "nested": ("all", "chapter", "category", "code")}
DRAWS = 2000

Samples = dict[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """One training in both settings: of a row, a seed or a group of held-out codes.

    Attributes:
        notes: of the corpus, or all that are decided and fitted on. codes: the label set.
        tune, fit, test: rows of `notes`; `fit` and `test` are the same where the heads are cross-validated.
        options: of tuning. base: name or folder. words: whether questions are asked in words.
        unseen: codes that no note that tunes or fits has.
    """

    notes: Sequence[CodedNote]
    codes: tuple[str, ...]
    tune: np.ndarray
    fit: np.ndarray
    test: np.ndarray
    options: str
    base: str = "tiny"
    words: bool = False
    unseen: tuple[str, ...] = ()

    def concepts(self, levels: Sequence[str], seen: bool = False) -> ConceptSet:
        """Of all codes, or of those that tuning has."""
        codes = [code for code in self.codes if not (seen and code in self.unseen)]
        return ConceptSet.expand(codes, load_ontology("icd9cm"), levels=levels)

    def gold(self, rows: np.ndarray) -> np.ndarray:
        chosen = [self.notes[row] for row in rows]
        return gold_matrix([note.note.note_id for note in chosen], chosen, self.codes)[0].astype(bool)


# Parts ----------------------------------------------------------------------------------------------------------------


def of_reports(args: argparse.Namespace, seed: int, size: int, weak: bool = False) -> Part:
    """CMC 2007: so many reports tune, others fit the heads."""
    notes = reports(args.data_dir / "cmc2007", args.limit)
    order = np.array(random.Random(seed).sample(range(len(notes)), len(notes)))
    fit = size + min(size, HEADS)
    base = str(untrained(args.work / "untrained")) if weak else "tiny"
    options = f"--config radiology --seed {seed} {STEPS.get(size, '')}"
    return Part(notes, codes_of(notes), order[:size], order[size:fit], order[fit:], options, base)


def of_unseen(args: argparse.Namespace, group: int) -> Part:
    """CMC 2007 without any report of some codes."""
    notes, ontology = reports(args.data_dir / "cmc2007", args.limit), load_ontology("icd9cm")
    codes = codes_of(notes)
    times = {code: sum(code in note.codes for note in notes) for code in codes}
    section = {code: ontology.path(code)[1] for code in codes}
    few, many = UNSEEN_REPORTS
    able = [code for code in codes if few <= times[code] <= many and list(section.values()).count(section[code]) > 1]
    unseen = tuple(able[group::GROUPS])
    order = np.array(random.Random(group).sample(range(len(notes)), len(notes)))
    with_them = np.array([any(code in notes[row].codes for code in unseen) for row in order])
    free = order[~with_them]
    tune, fit, rest = np.split(free, [400, 400 + UNSEEN_HEADS])
    options = f"--config radiology --seed {group} --num_train_epochs 3"
    return Part(notes, codes, tune, fit, np.concatenate([order[with_them], rest]), options, words=True, unseen=unseen)


def of_cases(args: argparse.Namespace, seed: int, task: str) -> Part:
    """CodiEsp: the training cases tune, the dev cases are decided by heads of the other dev cases."""
    folder = args.work / task
    if not (folder / MANIFEST).is_file():
        prepare_codiesp(args.data_dir / "codiesp", args.data_dir / "icd9_maps", task, folder)
    corpus = load_corpus(folder)
    assert corpus.label_set
    train, dev = corpus.split("train"), corpus.split("dev")
    rows = np.arange(len(train), len(train) + len(dev))
    options = f"--config {task}-tiny --seed {seed}"
    return Part([*train, *dev], corpus.label_set, np.arange(len(train)), rows, rows, options, words=True)


def codes_of(notes: Sequence[CodedNote]) -> tuple[str, ...]:
    return tuple(sorted({code for note in notes for code in note.codes}))


#: Row -> what makes its parts, and whether these are groups instead of seeds.
ROWS: dict[str, tuple[Callable[[argparse.Namespace, int], Part], bool]] = {
    "notes-50": (partial(of_reports, size=50), False),
    "notes-100": (partial(of_reports, size=100), False),
    "notes-200": (partial(of_reports, size=200), False),
    "notes-400": (partial(of_reports, size=400), False),
    "unseen": (of_unseen, True),
    "codiesp9-rare50": (partial(of_cases, task="codiesp9-rare50"), False),
    "untrained-400": (partial(of_reports, size=400, weak=True), False),
    "codiesp9-50": (partial(of_cases, task="codiesp9-50"), False),
}


# Tuning and scores ----------------------------------------------------------------------------------------------------


def run_part(args: argparse.Namespace, row: str, number: int, part: Part) -> None:
    """Tunes and scores in both settings; leaves of each the scores of the notes that fit and of those decided."""
    from concept_icd.llm.prompts import PromptTemplate
    from concept_icd.scoring.packed import PackedScorer
    from concept_icd.tuning.config import parse_options
    from concept_icd.tuning.finetune import tune_adapter

    for setting, levels in ASKED.items():
        file = scores_file(args, row, number, setting)
        if file.is_file():
            continue
        folder = file.with_suffix("")
        own = ["--corpus", "none", "--output_dir", str(folder / "checkpoints"), "--model_name_or_path", part.base]
        arguments, training, model = parse_options([*part.options.split(), *own, *args.options.split()])
        if part.words:
            arguments = replace(arguments, question_tokens=None)
        prompt, start = PromptTemplate.load(arguments.prompt), time.process_time()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "adapter").is_dir():
            learnt, seen = [part.notes[row] for row in part.tune], part.concepts(levels, seen=True)
            tune_adapter(learnt, seen, prompt, training, model, arguments, folder / "adapter")
        tuned, asked = time.process_time() - start, np.unique([*part.fit, *part.test])
        scorer, start = PackedScorer.from_pretrained(part.base, folder / "adapter", prompt), time.process_time()
        logits = scorer.score([part.notes[row].note for row in asked], part.concepts(levels)).logits
        with new_file(file) as staging, staging.open("wb") as opened:
            np.savez(opened, logits=logits, rows=asked, seconds=[tuned, time.process_time() - start])
        tell(f"{row}, {number}, {setting}: {tuned:.0f} s of tuning, {time.process_time() - start:.0f} s of scoring")


def scores_file(args: argparse.Namespace, row: str, number: int, setting: str) -> Path:
    path: Path = args.work / row / f"{number}-{setting}.npz"
    return path


def read_scores(args: argparse.Namespace, row: str, number: int, part: Part) -> dict[str, np.ndarray]:
    """Of each setting (notes of the corpus, concepts); rows of notes that were not asked are not numbers."""
    found = {}
    for setting in ASKED:
        with np.load(scores_file(args, row, number, setting)) as saved:
            found[setting] = np.full((len(part.notes), saved["logits"].shape[1]), np.nan, dtype=np.float32)
            found[setting][saved["rows"]] = saved["logits"]
    return found


# Heads ----------------------------------------------------------------------------------------------------------------

Decided = tuple[np.ndarray, np.ndarray]


def decide(part: Part, fit: Callable[[np.ndarray], Callable[[np.ndarray], Decided]]) -> Decided:
    """Probabilities and decisions of `part.test`, by heads that did not see them.

    Args:
        fit: rows of notes to fit on -> rows of notes -> their probabilities and decisions.
    """
    if not np.array_equal(part.fit, part.test):
        return fit(part.fit)(part.test)
    fold = group_folds([part.notes[row].note.note_id for row in part.test], FOLDS, 0)
    probabilities = np.zeros((len(part.test), len(part.codes)))
    accepted = np.zeros(probabilities.shape, dtype=bool)
    for number in range(FOLDS):
        out = fold == number
        probabilities[out], accepted[out] = fit(part.test[~out])(part.test[out])
    return probabilities, accepted


def package_heads(
    part: Part, scores: np.ndarray, concepts: ConceptSet, rows: np.ndarray
) -> Callable[[np.ndarray], Decided]:
    """The package's heads, fitted on these notes."""
    heads = heads_of(scores[rows], part.gold(rows), concepts, options=HeadOptions(features="path", order="none"))

    def decided(others: np.ndarray) -> Decided:
        probabilities = heads.predict_proba(scores[others])
        return probabilities, heads.threshold.accept(probabilities)

    return decided


def block_heads(
    part: Part, features: np.ndarray, blocks: Sequence[str], rows: np.ndarray
) -> Callable[[np.ndarray], Decided]:
    odds, threshold = fit_blocks(features[rows], part.gold(rows), part.codes, blocks)

    def decided(others: np.ndarray) -> Decided:
        probabilities = expit(odds(features[others], part.codes))
        return probabilities, threshold.accept(probabilities)

    return decided


def shared_probabilities(part: Part, features: np.ndarray) -> np.ndarray:
    """Of all codes in the notes decided, by weights that the seen codes share."""
    seen = np.array([code not in part.unseen for code in part.codes])
    own = [code for code, known in zip(part.codes, seen, strict=True) if known]
    odds, _ = fit_blocks(features[part.fit][:, seen], part.gold(part.fit)[:, seen], own, ("all",))
    return expit(odds(features[part.test], part.codes))


# Figures --------------------------------------------------------------------------------------------------------------


def figures(part: Part, probabilities: np.ndarray, accepted: np.ndarray, weights: np.ndarray) -> Samples:
    """Of decisions and their order, and of rare codes apart, in each sample; see `metrics.intervals`."""
    gold, clipped = part.gold(part.test), np.clip(probabilities, 1e-7, 1 - 1e-7)
    loss = -np.where(gold, np.log(clipped), np.log1p(-clipped)).mean(axis=1)
    drawn = drawn_decisions(gold, accepted, weights)
    found = {name: drawn[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml")}
    found["micro_auc"] = resampled_micro_auc(gold, probabilities, weights, lambda done: None)
    found |= drawn_means({"log_loss": loss}, weights)
    ranks = gold_ranks(gold, probabilities)
    found["map"] = drawn_means(note_ranking(ranks, (5,)), weights[:, ranks.has_gold])["map"]
    rare = part.gold(np.arange(len(part.notes))).sum(axis=0) <= RARE
    if gold[:, rare].any():
        few = drawn_decisions(gold[:, rare], accepted[:, rare], weights)
        found |= {f"rare_{name}": few[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml")}
        found["rare_micro_auc"] = resampled_micro_auc(gold[:, rare], probabilities[:, rare], weights, lambda done: None)
    return found


def unseen_figures(part: Part, probabilities: np.ndarray, weights: np.ndarray) -> Samples:
    """Of the held-out codes: mean area under the curve, and the share of gold pairs among a note's first k codes."""
    gold, held = part.gold(part.test), np.array([code in part.unseen for code in part.codes])
    place = (-probabilities).argsort(axis=1, kind="stable").argsort(axis=1)
    found = {"macro_auc": resampled_macro_auc(gold[:, held], probabilities[:, held], weights, lambda done: None)}
    total = weights @ gold[:, held].sum(axis=1)
    for k in (3, 5):
        found[f"recall_at_{k}"] = weights @ (gold & (place < k))[:, held].sum(axis=1) / total
    return found


def measure(args: argparse.Namespace, row: str, parts: Mapping[int, Part]) -> dict[str, Any]:
    """Means over the parts of a row, with intervals; and each part's own figures."""
    notes = len(next(iter(parts.values())).notes)
    weights = draw_weights(None, notes, DRAWS, 0)
    samples: dict[str, list[Samples]] = {}
    for number, part in parts.items():
        scores, drawn = read_scores(args, row, number, part), weights[:, part.test]
        for way, (setting, levels) in WAYS.items():
            concepts, own = part.concepts(levels), scores[setting]
            if len(concepts) < own.shape[1]:
                own = own[:, part.concepts(ASKED[setting]).own_rows]
            if part.unseen:
                probabilities = shared_probabilities(part, pair_features(own, concepts, levels))
                found = unseen_figures(part, probabilities, drawn)
            else:
                found = figures(part, *decide(part, partial(package_heads, part, own, concepts)), drawn)
            samples.setdefault(way, []).append(found)
        if not part.unseen:
            features = pair_features(scores["levels"], part.concepts(LEVELS), LEVELS)
            for name, blocks in BLOCKS.items():
                found = figures(part, *decide(part, partial(block_heads, part, features, blocks)), drawn)
                samples.setdefault(name, []).append(found)
        tell(f"{row}, {number}: measured")
    names = list(samples["levels"][0])
    means = {way: {name: np.mean([one[name] for one in of], axis=0) for name in names} for way, of in samples.items()}
    several = len(parts) > 1
    compared = [*DIFFERENCES, *([("nested", "flat")] if "flat" in means else [])]
    some = next(iter(parts.values()))
    return {
        "parts": list(parts),
        "notes": {"tune": len(some.tune), "fit": len(some.fit), "decided": [len(part.test) for part in parts.values()]},
        "decided_once": len(np.unique(np.concatenate([part.test for part in parts.values()]))),
        "codes": len(some.codes),
        "concepts": len(some.concepts(LEVELS)),
        "unseen": [part.unseen for part in parts.values() if part.unseen],
        "gold_labels": [int(part.gold(part.test)[:, held_out(part)].sum()) for part in parts.values()],
        "cpu_seconds": {setting: seconds_of(args, row, list(parts), setting) for setting in ASKED},
        "ways": {
            way: {
                name: {"value": float(values[0]), **interval(values, "plain" if name == "log_loss" else "share")}
                for name, values in found.items()
            }
            for way, found in means.items()
        },
        "differences": {
            f"{a} minus {b}": {
                name: {"difference": float(difference[0]), **interval(difference)}
                | ({"of_parts": [float(x[name][0] - y[name][0]) for x, y in zip(samples[a], samples[b], strict=True)]}
                   if several else {})
                for name in names
                for difference in [means[a][name] - means[b][name]]
            }
            for a, b in compared
        },
    }  # fmt: skip


def held_out(part: Part) -> np.ndarray:
    """The columns that the figures are about."""
    return np.array([not part.unseen or code in part.unseen for code in part.codes])


def seconds_of(args: argparse.Namespace, row: str, parts: Sequence[int], setting: str) -> dict[str, float]:
    found = []
    for number in parts:
        with np.load(scores_file(args, row, number, setting)) as saved:
            found.append(saved["seconds"])
    return dict(zip(("tuning", "scoring"), map(float, np.mean(found, axis=0)), strict=True))


def main() -> None:
    parser = parser_of(__doc__, (0, 1, 2), data=True, work="runs/bench-levels")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="(default: all)")
    parser.add_argument("--groups", nargs="+", type=int, choices=range(GROUPS), default=list(range(GROUPS)))
    parser.add_argument("--limit", type=int, help="of the reports")
    parser.add_argument("--options", default="", help="tuning options that override the configs, as one string")
    args = arguments(parser)
    names = {"DATA": args.data_dir, "WORK": args.work}
    measured = {}
    for row in args.rows:
        make, grouped = ROWS[row]
        parts = {number: make(args, number) for number in (args.groups if grouped else args.seeds)}
        for number, part in parts.items():
            run_part(args, row, number, part)
        measured[row] = measure(args, row, parts) | {"command": command_of(args, **names)}
        for name, found in measured[row]["differences"].items():
            tell(
                row,
                name,
                {key: [round(x[end], 4) for end in ("difference", "low", "high")] for key, x in found.items()},
            )
    before = read_json(args.out)["rows"] if args.out and args.out.is_file() else {}
    every = before | measured
    finish(args, {"rows": {row: every[row] for row in ROWS if row in every}}, **names)


if __name__ == "__main__":
    main()
