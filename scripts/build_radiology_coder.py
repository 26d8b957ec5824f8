"""Builds the shipped radiology coder from the coded reports of CMC 2007, and codes those whose codes are held back.

    python scripts/build_radiology_coder.py --data-dir DATA --work runs/radiology

DATA/cmc2007 holds train.xml (978 reports) and test_without_codes.xml (976), DATA/icd9cm the files of NCHS. The coder
goes to concept_icd/coders/radiology; what it says of the test reports to benchmarks/cmc2007/predictions.jsonl: ids,
codes, probabilities, decisions and the offsets of the evidence, no text. Beside it, in the same form, what its experts
say alone: predictions_concepts_only.jsonl (the concept scores, with heads of their own) and
predictions_lexical_only.jsonl (the trees on tagged words and the classification's terms, with heads of their own).
Nothing is chosen here: the settings are those of configs/radiology.yaml, chosen by cross-validation on the 978. A
killed run goes on where it stopped.

The same with another base model, whose coder is not shipped:

    python scripts/build_radiology_coder.py --data-dir DATA --work runs/radiology-smollm2 --name smollm2 \
        --config radiology-smollm2 --tuning-options "--model_name_or_path OUT/model"

writes predictions_smollm2.jsonl (concept scores alone) and predictions_smollm2_all_views.jsonl (with all experts),
without evidence; OUT is what `concept-icd warmup` wrote, the coder goes to WORK/coder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from concept_icd.artifacts import read_json, read_manifest, sha256, write_json
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import load_corpus, read_cmc2007, save_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.experts.expert import Expert, ExpertRecipe, means
from concept_icd.experts.terms import TermRecipe
from concept_icd.experts.words import ROUNDS, WordRecipe
from concept_icd.heads.fitting import HeadOptions, fit_heads
from concept_icd.llm.reference import ModelReference
from concept_icd.metrics.recall_depth import stops
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.nchs import lists_and_indexes
from concept_icd.outputs import MANIFEST, new_file
from concept_icd.records import CodedNote, CodingResult, Note
from concept_icd.text.sentences import sentence_spans

ROOT = Path(__file__).resolve().parent.parent
CODER, PREDICTIONS = ROOT / "concept_icd" / "coders" / "radiology", ROOT / "benchmarks" / "cmc2007"
CONFIG = "radiology"
OPTIONS = HeadOptions(order="none")
#: Codes that are less probable than this are left out of the predictions, unless they are accepted.
LEAST = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the public corpora, with cmc2007")
    parser.add_argument("--work", type=Path, default=Path("runs/radiology"), help="corpus, adapters and scores")
    parser.add_argument("--coder", type=Path, help=f"where the coder goes (default: {CODER}; with a name WORK/coder)")
    parser.add_argument("--config", default=CONFIG, help="of the tuning (default: %(default)s)")
    parser.add_argument("--name", help="of another base model, for the files of predictions")
    parser.add_argument("--predictions", type=Path, default=PREDICTIONS, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="of the test reports that are coded")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trees a code (default: %(default)s)")
    parser.add_argument("--tuning-options", default="", help="that override the config, as one string")
    args = parser.parse_args()
    args.coder = args.coder or (args.work / "coder" if args.name else CODER)
    try:
        build(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build(args: argparse.Namespace) -> None:
    from concept_icd.pipeline import fit_coder
    from concept_icd.scoring.adapters import score_corpus
    from concept_icd.tuning.config import parse_options
    from concept_icd.tuning.finetune import finetune

    folder, tuned, scored = args.work / "corpus", args.work / "tuned", args.work / "scores"
    if not (folder / MANIFEST).is_file():
        save_corpus(folder, read_cmc2007(args.data_dir / "cmc2007"), seed=args.seed, config={"corpus": "CMC 2007"})
    corpus = load_corpus(folder)
    if not (tuned / MANIFEST).is_file():
        own = ["--corpus", str(folder), "--output_dir", str(tuned), "--seed", str(args.seed)]
        finetune(parse_options(["--config", args.config, *own, *args.tuning_options.split()]))
    score_corpus([coded.note for coded in corpus.split("train")], tuned, scored)
    recipes = [Kept(WordRecipe(args.rounds)), Kept(TermRecipe.read(*lists_and_indexes(args.data_dir)))]
    options = replace(OPTIONS, dependencies="combinations")
    coder = without_paths(
        fit_coder(scored, corpus.notes, "train", experts=recipes, options=options), args.work / "adapter"
    )
    config = {"script": "scripts/build_radiology_coder.py", "tuning": read_manifest(tuned, "finetune")["config"]}
    config["tuning"] = {key: value for key, value in config["tuning"].items() if key not in ("corpus", "output_dir")}
    inputs = {"corpus": sha256(folder / MANIFEST), "scores": sha256(scored / MANIFEST)}
    coder.save_pretrained(args.coder, overwrite=True, inputs=inputs, config=config, seed=args.seed)
    print(f"{args.coder}: {len(coder.concepts.codes)} codes, {len(coder.concepts)} concepts", file=sys.stderr)

    notes = [coded.note for coded in corpus.split("test")][: args.limit]
    shipped, concepts = ConceptCoder.from_pretrained(args.coder), fit_coder(scored, corpus.notes, "train")
    if args.name:
        for name, own in ((args.name, concepts), (f"{args.name}_all_views", shipped)):
            lines = map(line, own.code_batch(notes))
            write_lines(args.predictions / f"predictions_{name}.jsonl", lines, len(notes))
        return
    lexical = lexical_alone(recipes, coder, notes)
    for name, lines in (
        ("predictions.jsonl", map(line, shipped.code_batch(notes, evidence=True))),
        ("predictions_concepts_only.jsonl", map(line, concepts.code_batch(notes, evidence=True))),
        ("predictions_lexical_only.jsonl", lexical),
    ):
        write_lines(args.predictions / name, lines, len(notes))


@dataclass
class Kept:
    """A recipe that keeps what it was given and what it made of it."""

    recipe: ExpertRecipe
    notes: Sequence[CodedNote] = ()
    fitted: tuple[Expert, np.ndarray] | None = None

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[Expert, np.ndarray]:
        """See `ExpertRecipe`."""
        self.notes, self.fitted = notes, self.recipe.fit(notes, gold, concepts, fold, seed)
        return self.fitted


def lexical_alone(recipes: Sequence[Kept], coder: ConceptCoder, notes: Sequence[Note]) -> Iterator[dict[str, Any]]:
    """What trees and terms alone say of the notes, by heads of their own; their evidence are whole sentences."""
    train = recipes[0].notes
    gold, patients = gold_matrix([coded.note.note_id for coded in train], train, coder.concepts.codes)
    experts, held_out = zip(*(kept.fitted for kept in recipes if kept.fitted), strict=True)
    concepts = replace(coder.concepts, concepts=coder.concepts.concepts[len(coder.asked) :])
    fill = means(held_out)

    def joint(columns: Sequence[np.ndarray]) -> np.ndarray:
        wide = np.concatenate(columns, axis=1)
        return np.where(np.isnan(wide), fill, wide)

    levels = [concept.level for concept in concepts.concepts]
    heads = fit_heads(joint(held_out), gold, concepts.cover, levels, concepts.codes, groups=patients, options=OPTIONS)
    for note in notes:
        spans = sentence_spans(note.text)
        without = [replace(note, text=note.text[:start] + note.text[end:]) for start, end in spans]
        said = joint([expert.log_odds([note, *without]) for expert in experts])
        p = heads.predict_proba(said)
        accepted, order = heads.threshold.accept(p[:1])[0], heads.rank(said[:1], p[:1])[0]
        expected = heads.recall_cutoff.expected_recall(p[:1], order[None])[0]
        losses = logit(p[0].clip(1e-9, 1 - 1e-9)) - logit(p[1:].clip(1e-9, 1 - 1e-9))
        codes = []
        for column in order.tolist():
            most = losses[:, column].max(initial=0)
            weigh = [loss > 0 and loss >= most / 2 for loss in losses[:, column]] if accepted[column] else []
            codes.append((concepts.codes[column], p[0, column], accepted[column], compress(spans, weigh)))
        yield row_of(note.note_id, codes, int(stops(expected[None])[0][0]))


def write_lines(path: Path, lines: Iterable[dict[str, Any]], count: int) -> None:
    with new_file(path) as staging, staging.open("w", encoding="utf-8") as file:
        for number, row in enumerate(lines, start=1):
            file.write(json.dumps(row) + "\n")
            if number % 100 == 0 or number == count:
                print(f"{path.name}: coded {number} of {count} reports", file=sys.stderr, flush=True)


def without_paths(coder: ConceptCoder, folder: Path) -> ConceptCoder:
    """The coder with an adapter, written to `folder`, whose configuration names the base model and no folder of it."""
    assert coder.model.adapter is not None
    shutil.copytree(coder.model.adapter, folder, dirs_exist_ok=True)
    config = folder / "adapter_config.json"
    write_json(config, read_json(config) | {"base_model_name_or_path": coder.model.name})
    return replace(coder, model=ModelReference.of(coder.model.name, folder))


def line(result: CodingResult) -> dict[str, Any]:
    codes = [(code.code, code.probability, code.accepted, code.evidence) for code in result.codes]
    return row_of(result.note_id, codes, result.read_first)


def row_of(note_id: str, codes: Iterable[tuple[str, float, bool, Iterable[Any]]], read_first: int) -> dict[str, Any]:
    """A line of a file of predictions: the codes ranked, each with its probability, decision and evidence."""
    kept = [
        {
            "code": code,
            "probability": round(float(probability), 5),
            "accepted": bool(accepted),
            "evidence": [list(span) for span in evidence],
        }
        for code, probability, accepted, evidence in codes
        if accepted or probability >= LEAST
    ]
    return {"note_id": note_id, "codes": kept, "read_first": read_first}


if __name__ == "__main__":
    sys.exit(main())
