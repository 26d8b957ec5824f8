"""Pre-trains the tiny base model from open text. In the top folder of a checkout:

    python -m scripts.pretraining --data-dir DATA --out DIR

DATA holds the public corpora (see CONTRIBUTING.md): icd9cm/nchs_2011, and of open_medical_text, codiesp and cmc2007
what there is. A killed run goes on from DIR/checkpoint when the same command is given again. The finished model is
DIR/model; its figures are DIR/figures.json.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path

from concept_icd.errors import InputError


def main() -> int:
    from concept_icd.artifacts import write_json
    from concept_icd.warmup.data import read_open_text, text_streams
    from concept_icd.warmup.questions import read_question_maker
    from concept_icd.warmup.training import keep_large_blocks
    from scripts.pretraining.model import save_model
    from scripts.pretraining.train import PretrainingOptions, pretraining

    parser = argparse.ArgumentParser(
        prog="python -m scripts.pretraining", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the public corpora")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, the model and its figures")
    parser.add_argument("--synthetic-notes", type=int, default=500, help="notes of our own generator to add")
    for field in fields(PretrainingOptions):
        about, kind = field.metadata.get("help", ""), type(field.default)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=f"{about} (%(default)s)"
        )
    arguments = vars(parser.parse_args())

    keep_large_blocks()
    options = PretrainingOptions(**{field.name: arguments[field.name] for field in fields(PretrainingOptions)})
    try:
        text = read_open_text(arguments["data_dir"], arguments["synthetic_notes"], options.seed)
        maker = read_question_maker(arguments["data_dir"], text, options.seed)
        run = pretraining(options, maker, text_streams(text, maker.terms), arguments["out"])
        figures = run.run(log)
        save_model(arguments["out"] / "model", run.model, run.tokenizer)
        write_json(
            arguments["out"] / "figures.json",
            {
                "options": asdict(options),
                "sources": text.counts,
                "parameters": run.model.num_parameters(),
                "tokens": run.tokens,
                "minutes": round(run.seconds / 60, 1),
                "held_out": figures,
            },
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    log(f"held out: {figures}")
    log(f"model: {arguments['out'] / 'model'}")
    return 0


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
