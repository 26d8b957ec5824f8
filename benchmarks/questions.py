"""What the length of a question buys: a sentence, the package's template, the title alone, learned tokens.

    python benchmarks/questions.py --data-dir DIR --codiesp runs/codiesp9-50 --work runs/bench-questions \
        --out benchmarks/results/questions.json

CODIESP is what `concept-icd prepare` wrote for codiesp9-50. Accuracy: every style is tuned with the same notes, seed
and number of steps (the shipped configs, tiny model); heads and threshold are fitted on dev notes, which the adapter
has not seen; test notes are looked at once. codiesp9-50 has its official splits. The 978 coded reports of CMC 2007 fall
into three folds: fold 0, on which the settings of learned tokens were chosen, only tunes (one half) and fits heads (the
other half); folds 1 and 2 are test in turn, and tune when they are not. A killed run goes on where it stopped.

Cost: a 1,500-token note and 150 questions, by tokens and by CPU seconds of one thread, beside a plain reading of the
note: what 150 answers cost at the very least.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, command_of, figures_of, finish, median_ratio, parser_of, side_by_side, take_turns
from random_model import random_concepts, random_llama, random_note

from concept_icd.artifacts import read_json, write_json
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import load_corpus, read_cmc2007
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.fitting import HeadOptions
from concept_icd.llm.base_model import load_model
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.question_embedding import add_question_tokens
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.metrics.intervals import headline_samples, interval
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote
from concept_icd.scoring.packed import PackedScorer

#: Style -> the prompt whose words it asks in, or starts from, and how many tokens it learns.
STYLES: dict[str, tuple[str, int | None]] = {
    "sentence": ("concept-sentence", None),
    "template": ("concept", None),
    "title": ("concept-title", None),
    "learned-1": ("concept-title", 1),
    "learned-2": ("concept-title", 2),
    "learned-4": ("concept-title", 4),
}
CONFIGS = {"cmc2007": "cmc2007-tiny", "codiesp9-50": "codiesp9-50-tiny"}
FIGURES = ("micro_f1", "macro_f1", "macro_f1_caml", "micro_auc", "macro_auc", "map")
COMPARED = ("micro_f1", "macro_f1", "macro_f1_caml", "map")
DRAWS = 2000


def notes_of(task: str, fold: int, args: argparse.Namespace) -> tuple[list[CodedNote], tuple[str, ...]]:
    """Notes with splits train, dev and test, and the label set."""
    if task == "codiesp9-50":
        corpus = load_corpus(args.codiesp)
        assert corpus.label_set
        return list(corpus.notes), corpus.label_set
    reports = [note for note in read_cmc2007(args.data_dir / "cmc2007") if note.codes]
    ids = [note.note.note_id for note in reports]
    splits = np.where(group_folds(ids, 3, 0) == fold, "test", "train")
    spare = group_folds(ids, 3, 0) == 0
    splits[spare] = np.where(group_folds(ids, 2, 1)[spare] == 0, "train", "dev")
    labels = tuple(sorted({code for note in reports for code in note.codes}))
    return [dataclasses.replace(n, split=str(s)) for n, s in zip(reports, splits, strict=True)], labels


def flags_of(style: str) -> list[str]:
    """The options of a tuning that asks in a style."""
    words, size = STYLES[style]
    return ["--prompt", words, *([] if size is None else ["--question_tokens", str(size)])]


def run_one(task: str, fold: int, style: str, args: argparse.Namespace, flags: Sequence[str]) -> None:
    """Tunes with these options, fits and measures one style; leaves its JSON."""
    from concept_icd.tuning.config import parse_options
    from concept_icd.tuning.finetune import tune_adapter

    folder = args.work / f"{task}-{fold}-{style}"
    notes, labels = notes_of(task, fold, args)
    train, dev, test = ([note for note in notes if note.split == name] for name in ("train", "dev", "test"))
    codes = tuple(code for code in labels if any(code in note.codes for note in train))
    concepts = ConceptSet.expand(codes, load_ontology("icd9cm"))
    options = ["--config", CONFIGS[task], "--corpus", "none", "--output_dir", str(folder / "checkpoints")]
    arguments, training, model = parse_options([*options, "--seed", "0", *flags])
    prompt, start = PromptTemplate.load(arguments.prompt), time.process_time()
    if not (folder / "adapter").is_dir():
        tune_adapter(train, concepts, prompt, training, model, arguments, folder / "adapter")
    tuned = time.process_time() - start
    scorer = PackedScorer.from_pretrained("tiny", folder / "adapter", prompt)
    start = time.process_time()
    scores = scorer.score([coded.note for coded in (*dev, *test)], concepts)
    scored = time.process_time() - start
    seen = dataclasses.replace(scores.select([coded.note.note_id for coded in dev]), out_of_fold=True)
    coder = ConceptCoder.fit(
        seen, dev, concepts, model="tiny", adapter=folder / "adapter", prompt=prompt, options=HeadOptions(order="none")
    )
    found = coder.predict_proba(scores.select([coded.note.note_id for coded in test]))
    column = {code: number for number, code in enumerate(labels)}
    probabilities = np.zeros((len(test), len(labels)))
    probabilities[:, [column[code] for code in codes]] = found
    accepted = np.zeros(probabilities.shape, dtype=bool)
    accepted[:, [column[code] for code in codes]] = coder.heads.threshold.accept(found)
    write_json(
        args.work / f"{folder.name}.json",
        {
            "notes": {"train": len(train), "dev": len(dev), "test": len(test)},
            "concepts": len(concepts),
            "tokens_a_question": float(np.mean([len(scorer.tokens.encode_concept(c)) for c in concepts.concepts])),
            "threshold": f"{coder.heads.threshold.value:.3f}: {coder.heads.threshold.source}",
            "tuning_cpu_seconds": tuned,
            "scoring_cpu_seconds": scored,
            "probabilities": np.round(probabilities, 6).tolist(),
            "accepted": accepted.astype(int).tolist(),
        },
    )


def collect(task: str, folds: list[int], args: argparse.Namespace) -> dict[str, Any]:
    """Figures of every style over the test notes of the folds, each beside the template's."""
    gold_of, samples, rows = [], {}, {}
    for fold in folds:
        notes, labels = notes_of(task, fold, args)
        test = [note for note in notes if note.split == "test"]
        gold_of.append(gold_matrix([note.note.note_id for note in test], test, labels)[0])
    gold = np.concatenate(gold_of)
    for style in args.styles:
        parts = [read_json(args.work / f"{task}-{fold}-{style}.json") for fold in folds]
        probabilities = np.concatenate([np.array(part["probabilities"]) for part in parts])
        accepted = np.concatenate([np.array(part["accepted"], dtype=bool) for part in parts])
        found = figures_of(gold, probabilities, accepted)
        samples[style] = headline_samples(gold, probabilities, accepted, draws=DRAWS)
        rows[style] = {name: {"value": found[name], **interval(samples[style][name], "share")} for name in FIGURES}
        rows[style] |= {key: float(np.mean([part[key] for part in parts])) for key in (
            "tokens_a_question", "tuning_cpu_seconds", "scoring_cpu_seconds")}  # fmt: skip
        rows[style]["thresholds"] = [part["threshold"] for part in parts]
    for style, row in rows.items():
        row["minus_template"] = {
            name: {"value": row[name]["value"] - rows["template"][name]["value"],
                   **interval(samples[style][name] - samples["template"][name])}
            for name in COMPARED
        }  # fmt: skip
    return {
        "folds": folds,
        "notes": [part["notes"] for part in parts],
        "test_notes": len(gold),
        "codes": gold.shape[1],
        "gold_labels": int(gold.sum()),
        "concepts": [part["concepts"] for part in parts],
        "interval": "95 % over test notes; differences paired",
        "styles": rows,
    }


def ask(scorer: PackedScorer, note: Sequence[int], questions: Sequence[Sequence[int]] | None) -> None:
    """Reads the note; and asks the questions, if there are any."""
    read = scorer.read([note])
    if questions is not None:
        scorer.ask(read, [questions])


def costs(loaded: Any, note_tokens: int, questions: int, rounds: int, seed: int) -> dict[str, Any]:
    """CPU seconds of a note by style, and of reading the note alone, in turns; medians of the ratios over rounds."""
    rng = np.random.default_rng(seed)
    concepts = random_concepts(questions, rng)
    width = loaded.model.get_input_embeddings().embedding_dim
    values = rng.normal(0, 0.02, (questions, 4, width)).astype(np.float32)
    tokens = QuestionTokens(tuple(concept.key for concept in concepts), values)
    ids = tokens.ids(add_question_tokens(loaded.model, tokens).first)
    asked, notes, scorers = {}, {}, {}
    for style, (words, size) in STYLES.items():
        scorer = scorers[style] = PackedScorer(loaded, PromptTemplate.load(words))
        note = random_note(scorer.tokens, "n", note_tokens, np.random.default_rng(seed))
        notes[style] = scorer.tokens.encode_note(note, 0).ids
        in_words = [scorer.tokens.encode_concept(concept) for concept in concepts]
        asked[style] = in_words if size is None else [list(ids[concept.key][:size]) for concept in concepts]
    ways = {style: partial(ask, scorers[style], notes[style], asked[style]) for style in STYLES}
    ways["the note alone"] = partial(ask, scorers["template"], notes["template"], None)
    seconds = take_turns(ways, rounds + 1, time.process_time)
    taken = {name: values[1:] for name, values in seconds.items()}  # the first round warms up
    return {
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()) - tokens.values.size,
        "rounds": rounds,
        "note_alone_cpu_seconds": [round(s, 3) for s in taken["the note alone"]],
        "styles": {
            style: {
                "tokens_a_question": round(float(np.mean([len(q) for q in asked[style]])), 2),
                "tokens_over_note": round(1 + sum(map(len, asked[style])) / note_tokens, 3),
                "seconds_over_note_alone": median_ratio(taken[style], taken["the note alone"]),
                "seconds_over_template": median_ratio(taken[style], taken["template"]),
                "cpu_seconds": [round(s, 3) for s in taken[style]],
            }
            for style in STYLES
        },
    }


def main() -> None:
    parser = parser_of(__doc__, None, data=True, work="runs/bench-questions", jobs=2, note_tokens=1500, questions=150)
    parser.add_argument("--codiesp", type=Path, help="prepared codiesp9-50")
    parser.add_argument("--tasks", nargs="*", choices=CONFIGS, default=list(CONFIGS), help="none: cost alone")
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES), help="whose accuracy is measured")
    parser.add_argument("--layers", type=int, default=12, help="of the random 100 M model; 0: without it")
    parser.add_argument("--rounds", type=int, default=5, help="of the cost; a fifth of them with the large model")
    parser.add_argument("--only", metavar="TASK,FOLD,STYLE", help="one training, in this process")
    args = arguments(parser)
    if "template" not in args.styles:
        parser.error("--styles needs template, which the others are compared with")
    torch.set_num_threads(1)
    if args.only:
        task, fold, style = args.only.split(",")
        run_one(task, int(fold), style, args, flags_of(style))
        return
    folds = {"cmc2007": [1, 2], "codiesp9-50": [0]}
    every = [(task, fold, style) for task in args.tasks for fold in folds[task] for style in args.styles]
    results = {f"{task},{fold},{style}": args.work / f"{task}-{fold}-{style}.json" for task, fold, style in every}
    side_by_side(results, args.work, args.jobs)
    sizes = (args.note_tokens, args.questions)
    loaders = {"tiny": lambda: load_model("tiny")}
    if args.layers:
        loaders["random-llama"] = lambda: random_llama(args.layers, 0)
    models = {}
    for name, load in loaders.items():
        path = args.work / f"cost-{name}.json"
        if not path.is_file():
            write_json(path, costs(load(), *sizes, args.rounds if name == "tiny" else max(1, args.rounds // 5), 0))
        models[name] = read_json(path)
    names = {"DATA": args.data_dir, "CODIESP": args.codiesp, "WORK": args.work}
    # Tasks that another run of the script measured stay, each with its own command.
    accuracy = read_json(args.out)["accuracy"] if args.out and args.out.is_file() else {}
    for task in args.tasks:
        accuracy[task] = collect(task, folds[task], args) | {"command": command_of(args, **names)}
    result = {
        "styles": {style: {"prompt": words, "question_tokens": size} for style, (words, size) in STYLES.items()},
        "accuracy": accuracy,
        "cost": {"note_tokens": args.note_tokens, "questions": args.questions, "models": models},
    }
    finish(args, result, **names)


if __name__ == "__main__":
    main()
