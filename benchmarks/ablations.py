"""CMC 2007: what each part of the concept scorer brings, by leaving it out or changing it.

    python benchmarks/ablations.py --data-dir DATA --work runs/bench-ablations --out benchmarks/results/ablations.json

Concept scores alone, on the 978 coded reports. Per variant three adapters, each tuned on two thirds of the reports,
score the third that they did not see; heads and threshold, fitted on four fifths of those scores, decide the last
fifth. So every report is decided by an adapter and by heads that did not see it, and variants are compared in pairs on
the same reports; the heads are split in several ways (`--splits`), and figures are means over these. Adapters learn
from two thirds here, where `cmc2007.py` lets them learn from four fifths: the figures compare with each other, not with
those. One seed, so that a difference of one variant may be a training's luck: `another-seed` says how far apart two
trainings of the same settings are. Other base models are made before and named with --bases: `longer=OUT/model` by
`python -m scripts.pretraining --start-from tiny --steps 6000 --skip 7500 --learning-rate 3e-3`, `smaller=OUT/model`
with `--layers 2 --hidden 64 --heads 2 --mlp 192 --vocabulary 4000`, `larger=OUT/model` with `--steps 4000 --layers 6
--hidden 192 --heads 6 --mlp 576 --learning-rate 3e-3`, `unasked=OUT/model` with `--question-weight 0`. A killed run
goes on where it stopped.

The same for SmolLM2-135M, warmed up and not, by different ways of asking:

    python benchmarks/ablations.py --data-dir DATA --work runs/bench-ablations --variants smollm2 smollm2-warm \
        smollm2-warm-in-words --bases smollm2=MODEL warm=OUT/model --out benchmarks/results/language_models.json

where MODEL is SmolLM2-135M (`make llm`) and OUT what `concept-icd warmup --model_name_or_path MODEL --data_dir DATA
--out OUT` made of it. Out-of-fold scores that `scripts/build_radiology_coder.py` left of a variant, in the same folds,
are read with `--scores smollm2-warm=WORK/scores`.

`distilled` is the shipped model's training with notes added that have no codes: sections of MTS-Dialog and made-up
reports. Their targets are what a teacher that saw the same two thirds of the reports says of them, one of the tuning
named with `--teachers smollm2-warm=WORK/tuned` (what that script made); `self-distilled` takes the shipped rows' own
adapters as teachers, and tells what the added notes alone bring.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cmc2007 import RARE, reports
from common import arguments, figures_of, finish, heads_of, parser_of, side_by_side, tell
from scipy.special import expit

from concept_icd import metrics
from concept_icd.artifacts import read_json
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.llm.reference import TINY
from concept_icd.metrics.intervals import draw_weights, drawn_decisions, interval
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.ontology.wordings import find_phrases
from concept_icd.outputs import new_file
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.store import load_scores
from concept_icd.warmup.data import CodeTerms

if TYPE_CHECKING:
    from concept_icd.tuning.distillation import TaughtNote

CONFIG, LARGER, ADAPTERS, HEADS = "radiology", "radiology-smollm2", 3, 5
#: Ways to split the reports into the heads' folds; one alone moves micro-F1 by as much as most variants do.
SPLITS = 3
LEVELS = ("chapter", "section", "category", "subcategory", "code")
DRAWS = 1000
#: Open notes of each kind to distil on.
OPEN = 500
#: Phrases asked of a code at most, beside its title.
PHRASES = 3
#: Variant -> what it changes of the shipped settings: tuning options; "levels"; "phrases", asked beside the titles;
#: "words", the prompt of questions in words, in the place of learned tokens; "base", a model of --bases, or made by
#: `untrained`; "config", the settings that are changed; "notes", what becomes of those to learn from;
#: "teacher", whose answers about open notes are learned too.
VARIANTS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "another-seed": {"options": "--seed 1"},
    "codes-alone": {"levels": ("code",)},
    **{f"no-{level}": {"levels": tuple(other for other in LEVELS if other != level)} for level in LEVELS[:-1]},
    "with-phrases": {"phrases": True},
    "no-companies": {"options": "--soft_targets 0"},
    "no-pre-training": {"base": "untrained"},
    "longer-pre-training": {"base": "longer"},
    "no-questions": {"base": "unasked"},
    "smaller-model": {"base": "smaller"},
    "larger-model": {"base": "larger"},
    "paraphrase": {"notes": "paraphrased", "options": "--num_train_epochs 3"},
    "agreed-first": {"notes": "agreed first", "options": "--train_sampling_strategy sequential"},
    "negatives-0.3": {"options": "--negative_share 0.3"},
    "full-rank": {"options": "--lora_r 128 --lora_alpha 256"},
    "3-epochs": {"options": "--num_train_epochs 3"},
    "dropout-0.1": {"options": "--note_dropout 0.1"},
    "10-epochs-dropout-0.1": {"options": "--num_train_epochs 10 --note_dropout 0.1"},
    "in-words-3-epochs": {"words": "concept", "options": "--num_train_epochs 3"},
    "in-words-5-epochs": {"words": "concept", "options": "--num_train_epochs 5"},
    "smollm2": {"base": "smollm2", "config": LARGER},
    "smollm2-warm": {"base": "warm", "config": LARGER},
    "smollm2-warm-in-words": {"base": "warm", "config": LARGER, "words": "concept-title"},
    "smollm2-warm-6-epochs": {"base": "warm", "config": LARGER, "options": "--num_train_epochs 6"},
    "distilled": {"teacher": "smollm2-warm"},
    "self-distilled": {"teacher": "shipped"},
}


def run_part(args: argparse.Namespace, variant: str, part: int) -> None:
    """Tunes one adapter and scores the reports that it did not see; leaves PART.npz."""
    from concept_icd.llm.prompts import PromptTemplate
    from concept_icd.scoring.packed import PackedScorer
    from concept_icd.tuning.config import parse_options
    from concept_icd.tuning.finetune import tune_adapter

    notes, change, folder = reports(args.data_dir / "cmc2007", args.limit), VARIANTS[variant], args.work / variant
    words = change.get("words", "concept-title")
    apart = group_folds([note.note.note_id for note in notes], ADAPTERS, 0) == part
    concepts, prompt = concepts_of(args, notes, variant), PromptTemplate.load(words)
    base = change.get("base", "tiny")
    base = str(untrained(folder / "base")) if base == "untrained" else args.bases.get(base, base)
    own = ["--corpus", "none", "--output_dir", str(folder / f"checkpoints-{part}"), "--model_name_or_path", base]
    options = [
        "--config",
        change.get("config", CONFIG),
        "--seed",
        "0",
        "--prompt",
        words,
        *change.get("options", "").split(),
        *own,
    ]
    arguments, training, model = parse_options([*options, *args.options.split()])
    if change.get("words"):
        arguments = replace(arguments, question_tokens=None)
    folder.mkdir(parents=True, exist_ok=True)
    adapter, start = folder / f"adapter-{part}", time.process_time()
    if not adapter.is_dir():
        learnt = to_learn_from(args, [note for note, out in zip(notes, apart, strict=True) if not out], variant)
        taught = taught_of(args, concepts, variant, part)
        tune_adapter(learnt, concepts, prompt, training, model, arguments, adapter, taught)
    tuned = time.process_time() - start
    scorer, start = PackedScorer.from_pretrained(base, adapter, prompt), time.process_time()
    scores = scorer.score([note.note for note, out in zip(notes, apart, strict=True) if out], concepts)
    with new_file(folder / f"{part}.npz") as staging, staging.open("wb") as file:
        seconds = np.array([tuned, time.process_time() - start])
        np.savez(file, logits=scores.logits, rows=np.flatnonzero(apart), seconds=seconds)


def taught_of(args: argparse.Namespace, concepts: ConceptSet, variant: str, part: int) -> list[TaughtNote]:
    """Open notes with the probabilities of the variant's teacher, which saw the same reports as this part's adapter."""
    from concept_icd.llm.prompts import PromptTemplate
    from concept_icd.scoring.packed import PackedScorer
    from concept_icd.tuning.distillation import LEAST, TaughtNote

    if not (teacher := VARIANTS[variant].get("teacher")):
        return []
    base = args.bases.get(VARIANTS[teacher].get("base", "tiny"), "tiny")
    adapter = args.work / teacher / f"adapter-{part}"
    if teacher in args.teachers:
        adapter = Path(args.teachers[teacher]) / f"fold-{part}"
    notes = open_notes(args, concepts)
    scorer = PackedScorer.from_pretrained(base, adapter, PromptTemplate.load("concept-title"))
    probabilities = expit(scorer.score(notes, concepts).logits.astype(np.float64))
    probabilities[probabilities < LEAST] = 0
    return [TaughtNote(note, row.astype(np.float32)) for note, row in zip(notes, probabilities, strict=True)]


def open_notes(args: argparse.Namespace, concepts: ConceptSet) -> list[Note]:
    """OPEN sections of MTS-Dialog, and as many made-up reports that name, deny or doubt one to three of the codes."""
    from concept_icd.warmup.notes import Mention, compose_note

    rng, terms = random.Random(0), read_terms(args.data_dir)
    source = args.data_dir / "open_medical_text" / "mts_dialog_notes.jsonl.gz"
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    texts = rng.sample([text for text in texts if len(text.split()) >= 12], args.open_notes)
    codes = [code for code in concepts.codes if code in terms.wordings]
    for _ in range(args.open_notes):
        said = rng.sample(codes, rng.randint(1, 3))
        status = rng.choices(("present", "absent", "uncertain", "family"), (10, 2, 3, 1), k=len(said))
        mentions = [Mention(c, rng.choice(terms.wordings[c]), how) for c, how in zip(said, status, strict=True)]
        texts.append(compose_note(mentions, rng, reports=1.0))
    return [Note(f"open-{number}", text) for number, text in enumerate(texts)]


def to_learn_from(args: argparse.Namespace, notes: list[CodedNote], variant: str) -> list[CodedNote]:
    """The notes as the variant has them, in the order of learning where there is one."""
    change = VARIANTS[variant].get("notes")
    if change == "paraphrased":
        return [*notes, *paraphrased(args, notes)]
    if change == "agreed first":  # the fewer different answers the three companies gave, the earlier
        return sorted(notes, key=lambda note: len({frozenset(codes) for codes in (note.annotations or {}).values()}))
    return notes


def paraphrased(args: argparse.Namespace, notes: list[CodedNote]) -> list[CodedNote]:
    """The notes with every other mention of a disease in other words of the classification for the same code."""
    rng, terms, changed = random.Random(0), read_terms(args.data_dir), []
    for note in notes:
        text, found = note.note.text, find_phrases(note.note.normalized.text, terms.named)
        for words, code in sorted({(clause.text[begin:end], code) for clause, begin, end, code in found}):
            said = r"\b" + r"\W+".join(map(re.escape, words.split())) + r"\b"
            others = [other for other in terms.wordings[code] if other.lower() != words]
            if others and rng.random() < 0.5:
                text = re.sub(said, rng.choice(others).lower(), text, flags=re.IGNORECASE)
        changed.append(replace(note, note=replace(note.note, note_id=f"{note.note.note_id}, reworded", text=text)))
    return changed


@cache
def read_terms(data_dir: Path) -> CodeTerms:
    """What the classification and open texts call the codes."""
    from concept_icd.warmup.data import read_open_text
    from concept_icd.warmup.questions import read_question_maker

    return read_question_maker(data_dir, read_open_text(data_dir, 0, 0), 0).terms


def concepts_of(args: argparse.Namespace, notes: list[CodedNote], variant: str) -> ConceptSet:
    """Of all 45 codes, whether the adapter's reports have them or not."""
    from concept_icd.ontology.nchs import inclusion_phrases

    codes = sorted({code for note in notes for code in note.codes})
    change, phrases = VARIANTS[variant], None
    if change.get("phrases"):
        found = inclusion_phrases(args.data_dir / "icd9cm" / "nchs_2011" / "Dtab12.zip", codes)
        phrases = {code: said[:PHRASES] for code, said in found.items() if said}
    return ConceptSet.expand(codes, load_ontology("icd9cm"), levels=change.get("levels", LEVELS), phrases=phrases)


def untrained(folder: Path) -> Path:
    """The shipped model's shape and tokenizer with weights as pre-training begins with them."""
    from transformers import AutoTokenizer

    from scripts.pretraining.model import new_model, save_model

    if not folder.is_dir():
        tokenizer = AutoTokenizer.from_pretrained(TINY)
        config = read_json(TINY / "config.json")
        sizes = {
            "layers": config["num_hidden_layers"],
            "hidden": config["hidden_size"],
            "heads": config["num_attention_heads"],
            "mlp": config["intermediate_size"],
        }
        save_model(folder, new_model(tokenizer, 0, **sizes), tokenizer)
    return folder


def decide(args: argparse.Namespace, variant: str) -> dict[str, Any]:
    """Probabilities and decisions of all reports, a pair for each split of the heads, and the seconds they took."""
    from concept_icd.heads.fitting import HeadOptions

    notes = reports(args.data_dir / "cmc2007", args.limit)
    ids, concepts = [note.note.note_id for note in notes], concepts_of(args, notes, variant)
    gold, _ = gold_matrix(ids, notes, concepts.codes)
    logits, seconds = np.zeros((len(notes), len(concepts)), dtype=np.float32), np.zeros(2)
    if variant in args.scores:
        logits, seconds[:] = load_scores(args.scores[variant]).select(ids).logits, np.nan
    for part in range(ADAPTERS) if variant not in args.scores else ():
        found = np.load(args.work / variant / f"{part}.npz")
        logits[found["rows"]] = found["logits"]
        seconds += found["seconds"]
    decided = []
    for split in range(1, args.splits + 1):
        fold = group_folds(ids, HEADS, split)
        probabilities, accepted = np.zeros(gold.shape), np.zeros(gold.shape, dtype=bool)
        for number in range(HEADS):
            rest, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            options = HeadOptions(features="path", order="none")
            groups = [ids[row] for row in rest]
            heads = heads_of(logits[rest], gold[rest], concepts, groups=groups, options=options)
            probabilities[out] = heads.predict_proba(logits[out])
            accepted[out] = heads.threshold.accept(probabilities[out])
        decided.append((probabilities, accepted))
    return {"gold": gold, "decided": decided, "concepts": len(concepts), "seconds": seconds}


def figures_and_loss(gold: np.ndarray, probabilities: np.ndarray, accepted: np.ndarray) -> dict[str, float]:
    found = figures_of(gold, probabilities, accepted)
    few = gold.sum(axis=0) <= RARE
    rare = metrics.decision_metrics(gold[:, few], accepted[:, few]) if few.any() else dict.fromkeys(found)
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return {
        **{name: found[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml", "exact_match", "map", "micro_auc")},
        **{f"rare_{name}": rare[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml")},
        "log_loss": float(-np.where(gold, np.log(p), np.log1p(-p)).mean()),
    }


def collect(args: argparse.Namespace, variants: list[str]) -> dict[str, Any]:
    """Figures of each variant, means over the heads' splits, and its paired differences from what is shipped."""
    rows: dict[str, Any] = {}
    samples: dict[str, Any] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        all_found = list(pool.map(decide, repeat(args), variants))
    for variant, found in zip(variants, all_found, strict=True):
        gold, decided = found["gold"], found["decided"]
        splits = [figures_and_loss(gold, *one) for one in decided]
        row = {name: None if None in (own := [split[name] for split in splits]) else float(np.mean(own))
               for name in splits[0]}  # fmt: skip
        weights = draw_weights(None, len(gold), DRAWS, 0)
        drawn = [drawn_decisions(gold, accepted, weights)["micro_f1"] for _, accepted in decided]
        samples[variant] = np.mean(drawn, axis=0)
        rows[variant] = {
            "changes": VARIANTS[variant],
            "concepts": found["concepts"],
            **row,
            "micro_f1": {"value": row["micro_f1"], **interval(samples[variant], "share")},
            "micro_f1_of_splits": [split["micro_f1"] for split in splits],
            **{
                f"{what}_cpu_seconds": None if np.isnan(cost) else float(cost)
                for what, cost in zip(("tuning", "scoring"), found["seconds"], strict=True)
            },
        }
        value = row["micro_f1"] - rows["shipped"]["micro_f1"]["value"]
        rows[variant]["minus_shipped"] = {"value": value, **interval(samples[variant] - samples["shipped"])}
        tell(variant, rows[variant]["minus_shipped"], row["micro_f1"], row["log_loss"])
    return {
        "notes": len(gold),
        "codes": gold.shape[1],
        "gold_labels": int(gold.sum()),
        "splits": args.splits,
        "variants": rows,
    }


def main() -> None:
    parser = parser_of(__doc__, None, data=True, work="runs/bench-ablations", splits=SPLITS, jobs=2)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all whose base model is there")
    parser.add_argument("--bases", nargs="+", default=[], metavar="NAME=FOLDER", help="see above")
    parser.add_argument("--scores", nargs="+", default=[], metavar="VARIANT=FOLDER", help="see above")
    parser.add_argument("--teachers", nargs="+", default=[], metavar="VARIANT=FOLDER", help="see above")
    parser.add_argument(
        "--open-notes", type=int, default=OPEN, help="of each kind, to distil on (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, help="of the reports")
    parser.add_argument("--options", default="", help="tuning options that override the config, as one string")
    parser.add_argument("--only", metavar="VARIANT", help="the trainings of one variant, in this process")
    args = arguments(parser)
    for name in ("bases", "scores", "teachers"):
        setattr(args, name, dict(pair.split("=", 1) for pair in getattr(args, name)))
    there = {"tiny", "untrained", *args.bases}
    teachers = {"shipped", *args.teachers}
    asked = args.variants or [
        name
        for name, change in VARIANTS.items()
        if change.get("base", "tiny") in there and change.get("teacher", "shipped") in teachers
    ]
    if missing := {VARIANTS[name].get("base", "tiny") for name in asked} - there:
        parser.error(f"name the base model {missing.pop()} with --bases")
    if missing := {VARIANTS[name].get("teacher", "shipped") for name in asked} - teachers:
        parser.error(f"name the tuning of the teacher {missing.pop()} with --teachers")

    if args.only:
        for part in range(ADAPTERS):
            if not (args.work / args.only / f"{part}.npz").is_file():
                run_part(args, args.only, part)
        return
    variants = ["shipped", *(name for name in asked if name != "shipped")]
    to_make = [name for name in variants if name not in args.scores]
    for some in (to_make[:1], to_make[1:]):  # the shipped one's adapters may be teachers
        side_by_side({name: args.work / name / f"{ADAPTERS - 1}.npz" for name in some}, args.work, args.jobs)
    bases = {f"{name}=OUT/model": Path(f"{name}={folder}") for name, folder in args.bases.items()}
    bases |= {f"{name}=WORK/scores": Path(f"{name}={folder}") for name, folder in args.scores.items()}
    bases |= {f"{name}=WORK/tuned": Path(f"{name}={folder}") for name, folder in args.teachers.items()}
    finish(args, collect(args, variants), DATA=args.data_dir, WORK=args.work, **bases)


if __name__ == "__main__":
    main()
