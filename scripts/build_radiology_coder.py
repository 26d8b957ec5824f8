"""Builds the shipped radiology coder from the coded reports of CMC 2007, and codes those whose codes are held back.

    python scripts/build_radiology_coder.py --data-dir DATA --work runs/radiology

DATA/cmc2007 holds train.xml (978 reports) and test_without_codes.xml (976). The coder goes to
concept_icd/coders/radiology; what it says of the test reports to benchmarks/cmc2007/predictions.jsonl: ids, codes,
probabilities, decisions and the offsets of the evidence, no text. Nothing is chosen here: the settings are those of
configs/cmc2007-tiny.yaml, chosen by cross-validation on the 978. A killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from concept_icd.artifacts import MANIFEST, new_file, read_json, read_manifest, sha256, write_json
from concept_icd.coder import ConceptCoder
from concept_icd.corpora import load_corpus, read_cmc2007, save_corpus
from concept_icd.errors import InputError
from concept_icd.model_reference import ModelReference
from concept_icd.records import CodingResult

ROOT = Path(__file__).resolve().parent.parent
CODER, PREDICTIONS = ROOT / "concept_icd" / "coders" / "radiology", ROOT / "benchmarks" / "cmc2007"
CONFIG = "cmc2007-tiny"
#: Codes that are less probable than this are left out of the predictions, unless they are accepted.
LEAST = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the public corpora, with cmc2007")
    parser.add_argument("--work", type=Path, default=Path("runs/radiology"), help="corpus, adapters and scores")
    parser.add_argument("--coder", type=Path, default=CODER, help="where the coder goes (default: %(default)s)")
    parser.add_argument("--predictions", type=Path, default=PREDICTIONS, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="of the test reports that are coded")
    parser.add_argument("--tuning-options", default="", help="that override the config, as one string")
    args = parser.parse_args()
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
        finetune(parse_options(["--config", CONFIG, *own, *args.tuning_options.split()]))
    score_corpus([coded.note for coded in corpus.split("train")], tuned, scored)
    coder = without_paths(fit_coder(scored, corpus.notes, "train"), args.work / "adapter")
    config = {"script": "scripts/build_radiology_coder.py", "tuning": read_manifest(tuned, "finetune")["config"]}
    config["tuning"] = {key: value for key, value in config["tuning"].items() if key not in ("corpus", "output_dir")}
    inputs = {"corpus": sha256(folder / MANIFEST), "scores": sha256(scored / MANIFEST)}
    coder.save_pretrained(args.coder, overwrite=True, inputs=inputs, config=config, seed=args.seed)
    print(f"{args.coder}: {len(coder.concepts.codes)} codes, {len(coder.concepts)} concepts", file=sys.stderr)

    shipped = ConceptCoder.from_pretrained(args.coder)
    notes = [coded.note for coded in corpus.split("test")][: args.limit]
    with new_file(args.predictions / "predictions.jsonl") as staging, staging.open("w", encoding="utf-8") as file:
        for number, result in enumerate(shipped.code_batch(notes, evidence=True), start=1):
            file.write(json.dumps(line(result)) + "\n")
            if number % 50 == 0 or number == len(notes):
                print(f"coded {number} of {len(notes)} reports", file=sys.stderr, flush=True)


def without_paths(coder: ConceptCoder, folder: Path) -> ConceptCoder:
    """The coder with an adapter, written to `folder`, whose configuration names the base model and no folder of it."""
    assert coder.model.adapter is not None
    shutil.copytree(coder.model.adapter, folder, dirs_exist_ok=True)
    config = folder / "adapter_config.json"
    write_json(config, read_json(config) | {"base_model_name_or_path": coder.model.name})
    return replace(coder, model=ModelReference.of(coder.model.name, folder))


def line(result: CodingResult) -> dict[str, Any]:
    codes = [
        {
            "code": code.code,
            "probability": round(code.probability, 5),
            "accepted": code.accepted,
            "evidence": [list(span) for span in code.evidence],
        }
        for code in result.codes
        if code.accepted or code.probability >= LEAST
    ]
    return {"note_id": result.note_id, "codes": codes, "read_first": result.read_first}


if __name__ == "__main__":
    sys.exit(main())
