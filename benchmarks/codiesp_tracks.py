"""CodiEsp in its own codes: the tracks' figures on dev, and predictions for the test cases.

    python benchmarks/codiesp_tracks.py --data-dir DIR --out benchmarks/results/codiesp_tracks.json

DIR holds the folder `codiesp`. Each row is a coder of experts alone (`concept-icd fit --experts spans`, no language
model). In Spanish the lexicon is of the passages that annotators marked, in English of guessed ones. Everything was
chosen on train and dev: a coder of the train cases gives the dev figures. A second one, fitted on train and dev cases
by the same settings, codes the 250 test cases, and its figures are measured once. What it says goes to
benchmarks/codiesp/predictions_TRACK_LANGUAGE.jsonl: ids, codes, probabilities and decisions, no text. In Spanish also:
of the codes accepted in dev cases, how many are shown with the passage that the annotators marked (task X).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, arguments, finish, parser_of, tell, timed

from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.codiesp import Language
from concept_icd.corpora.codiesp_tracks import prepare_track
from concept_icd.experts.kinds import recipe
from concept_icd.experts.spans import SpanExpert
from concept_icd.heads.fitting import HeadOptions
from concept_icd.metrics.codiesp import explained_micro_scores, mean_average_precision, micro_scores
from concept_icd.metrics.intervals import interval
from concept_icd.outputs import MANIFEST, new_file
from concept_icd.pipeline import fit_experts_alone
from concept_icd.records import CodedNote, CodingResult

LANGUAGES: tuple[Language, ...] = ("es", "en")
EXPERTS = ("spans",)
#: Codes that are less probable are left out of the predictions, unless they are accepted; and codes of a case at most.
LEAST, MOST = 0.001, 100


def main() -> None:
    parser = parser_of(__doc__, data=True, work="runs/bench-tracks")
    parser.add_argument("--rows", nargs="+", default=["d_es", "p_es", "d_en", "p_en"], help="(default: all)")
    parser.add_argument("--predictions", type=Path, default=ROOT / "benchmarks" / "codiesp")
    args = arguments(parser)
    rows = {}
    for name in args.rows:
        track, language = name.split("_")
        folder = args.work / f"codiesp-{track}-{language}"
        if not (folder / MANIFEST).is_file():
            prepare_track(args.data_dir / "codiesp", f"codiesp-{track}", folder, language=language)
        rows[name] = measure(load_corpus(folder), args.seed, args.predictions / f"predictions_{name}.jsonl")
        tell(name, json.dumps({part: rows[name][part] for part in ("dev", "test")}))
    finish(args, {"rows": rows})


def measure(corpus: Corpus, seed: int, predictions: Path) -> dict[str, Any]:
    """The dev figures of a coder of the train cases, and the test figures of one of both."""
    options = HeadOptions(order="none", seed=seed)
    experts = [recipe(kind, classification=corpus.classification) for kind in EXPERTS]
    seconds, coder = timed(fit_experts_alone, corpus, ["train"], experts, options)
    dev = corpus.split("dev")
    coding, results = timed(lambda: list(coder.code_batch([coded.note for coded in dev], top_concepts=0)))
    row: dict[str, Any] = {
        "codes": len(coder.concepts.codes),
        "cross_validated_micro_f1": coder.heads.threshold.micro_f1,
        "dev": figures(dev, results),
        "seconds": {"fit": seconds, "code a case": coding / len(dev)},
    }
    if any(coded.evidence for coded in dev):
        row["dev_passages"] = passages(coder, dev, results)
    final = fit_experts_alone(corpus, ["train", "dev"], experts, options)
    test = corpus.split("test")
    results = list(final.code_batch([coded.note for coded in test], top_concepts=0))
    predictions.parent.mkdir(exist_ok=True)
    with new_file(predictions) as staging, staging.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line(result)) + "\n" for result in results)
    return row | {"test": figures(test, results), "coder": final.hash}


def line(result: CodingResult) -> dict[str, Any]:
    """A case as `concept-icd code` writes it, without what is not asked for here."""
    kept = [code for code in result.top(MOST) if code.accepted or code.probability >= LEAST]
    codes = [{"code": c.code, "probability": round(c.probability, 5), "accepted": c.accepted} for c in kept]
    return {"note_id": result.note_id, "codes": codes}


def figures(notes: Sequence[CodedNote], results: Sequence[CodingResult]) -> dict[str, Any]:
    """The track's figures over all codes of these cases, with leave-one-out intervals over the cases."""
    gold = {coded.note.note_id: coded.codes for coded in notes}
    ranked = {result.note_id: [code.code for code in result.codes] for result in results}
    accepted = {result.note_id: [code.code for code in result.accepted] for result in results}

    def of(left_out: str | None) -> tuple[float, ...]:
        own = {case: codes for case, codes in gold.items() if case != left_out}
        said = {case: codes for case, codes in accepted.items() if case != left_out}
        micro = micro_scores(own, said)
        return (each[left_out], micro.precision or 0.0, micro.recall or 0.0, micro.f1 or 0.0)

    precisions = {
        case: mean_average_precision({case: codes}, ranked).value
        for case, codes in gold.items()
        if codes and ranked[case]
    }
    total, count = sum(precisions.values()), len(precisions)
    each: dict[str | None, float] = {None: total / count} | {
        case: (total - precisions[case]) / (count - 1) if case in precisions else total / count for case in gold
    }
    samples = np.array([of(None), *map(of, gold)])
    names = ("map", "micro_precision", "micro_recall", "micro_f1")
    found = {
        name: {"value": samples[0, column], **interval(samples[:, column], "share")}
        for column, name in enumerate(names)
    }
    return {"cases": len(gold), "cases of MAP": count, "gold codes": sum(map(len, gold.values())), **found}


def passages(coder: ConceptCoder, notes: Sequence[CodedNote], results: Sequence[CodingResult]) -> dict[str, Any]:
    """Task X: the accepted codes, each with the passages of the expert of spans."""
    expert = next(expert for expert in coder.experts if isinstance(expert, SpanExpert))
    gold = {coded.note.note_id: [(m.code, (m.spans[0][0], m.spans[-1][1])) for m in coded.evidence] for coded in notes}
    shown = {
        coded.note.note_id: [(c.code, span) for c in result.accepted for span in expert.passages(coded.note, c.code)]
        for coded, result in zip(notes, results, strict=True)
    }
    return vars(explained_micro_scores(gold, shown))


if __name__ == "__main__":
    main()
