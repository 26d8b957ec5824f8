"""The `concept-icd` command: one module a verb, imported only when its verb is asked for.

A verb's module has `EXAMPLE` (commands that run), `add_arguments(parser)` and `run(args) -> int`; what it does stands
in `GROUPS`, so that the help imports no verb.
`INPUTS` are the names of its options that name what it reads: no output is written over those.
Where `PASSES_OPTIONS_ON` is true, `args.others` holds the options that the parser does not know; where `THREADS_SPIN`
is, OpenMP's and OpenBLAS's threads spin for some milliseconds while they wait for work; where `ENDS_BY_SIGNAL` is, the
verb looks after SIGTERM itself.
Heavy imports stand inside `run`. Exit codes: 0 done, 1 done but some notes failed, 2 bad input, 130 and 143 stopped.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from concept_icd import __version__
from concept_icd.cli.old_names import new_words
from concept_icd.cli.parser import Parser
from concept_icd.errors import InputError, extras
from concept_icd.progress import LOGGER, say

#: Group -> verb -> what it does, as the help prints them.
GROUPS = {
    "use": {
        "demo": "run the whole pipeline on synthetic notes with the shipped tiny model, then code sample notes",
        "code": "rank the ICD codes of a note, or of a corpus",
        "serve": "serve the coder's desk and an API on this machine",
    },
    "train": {
        "prepare": "read a corpus (JSON lines, tables, text, CMC 2007, CodiEsp, MIMIC-III) into a folder with splits",
        "synth": "invent data: notes with codes, tables in the shape of MIMIC-III, stays with drugs",
        "run": "run all stages on one corpus: tune, score, fit, evaluate, report (resumes where it stopped)",
        "warmup": "teach a base model to answer concept questions, before it is tuned on coded notes",
        "finetune": "tune LoRA adapters on a prepared corpus; options are those of scripts/finetune.py, see its --help",
        "score": "score every concept of every note with a tuning run's adapters, each note by one that did not see it",
        "fit": "fit a coder (aggregator, calibration, threshold, ranker) on out-of-fold scores",
        "medications": "codes of stays from their drugs: prepare stays, study the networks, code new stays",
    },
    "measure": {
        "evaluate": "score predictions of any model against gold codes: results.json and report.html",
        "compare": "set several systems side by side: figures, paired differences with intervals, gain curves",
        "baseline": "run a baseline on a prepared corpus: tfidf-svm, plm-icd, cec and others; alone, lists them",
    },
    "scale": {
        "doctor": "check the machine, the packages and the MIMIC-III data; estimate time and memory",
        "fit-selection": "fit which concepts a note is asked about, where there are too many to ask them all",
        "check-parity": "compare two scorers on the same notes: gaps, rank correlation, and which codes change",
    },
    "look up": {
        "ontology": "show a code with its path, or search codes by words",
        "phrases": "collect phrases of codes (NCHS lists, phrase files, a local LLM) and check them against notes",
        "completion": "print the script by which bash, zsh or fish completes verbs and options",
    },
}
VERBS = {verb: about for verbs in GROUPS.values() for verb, about in verbs.items()}


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; an `InputError` becomes one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file that is not UTF-8 is printed with escapes
            stream.reconfigure(errors="backslashreplace")
    words = new_words(sys.argv[1:] if argv is None else argv)
    parser = _parser([word for word in words[:1] if word in VERBS])
    args, others = parser.parse_known_args(words)
    args.others = others
    if not args.threads_spin:
        # Where other programs share the cores, threads that spin while they wait make everything many times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    if others and not args.passes_options_on:
        args.unknown_of.refuse(others)
    before = LOGGER.level
    LOGGER.setLevel(getattr(args, "loudness", logging.INFO))
    try:
        from concept_icd.outputs import private_files, reading

        given = (getattr(args, name, None) for name in args.inputs)
        with extras(), private_files(), reading(_flat(given)), nullcontext() if args.ends_by_signal else _stoppable():
            start = time.monotonic()
            code = int(args.run(args))
            LOGGER.debug("done after %.1f s", time.monotonic() - start)
            return code
    except InputError as error:
        say(str(error), logging.ERROR)
        return 2
    except BrokenPipeError:  # the reader (head, less) has gone; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stopped:
        say("stopped; the same command goes on where it was", logging.WARNING)
        return 128 + getattr(stopped, "signal", signal.SIGINT)
    finally:
        LOGGER.setLevel(before)


class _Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP: as Ctrl-C, so that temporary files go and finished work stays."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextmanager
def _stoppable() -> Iterator[None]:
    def stop(number: int, _: object) -> None:
        raise _Stopped(number)

    in_main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if in_main and signal.getsignal(n) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _flat(values: Any) -> Iterator[object]:
    """What options hold, lists taken apart; of NAME=PATH also the path."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        elif value is not None:
            yield value
            yield str(value).partition("=")[2] or None


def _parser(filled: Sequence[str] = tuple(VERBS)) -> Parser:
    """The parser, with the options of the verbs that are named: the others are not imported."""
    parser = Parser(
        prog="concept-icd",
        usage="concept-icd [-h] [--version] VERB ...",
        description="Reads a clinical note and returns ranked ICD codes with the concepts that carried them.",
        epilog=_groups(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"concept-icd {__version__}")
    verbs = parser.add_subparsers(prog="concept-icd", metavar="VERB", required=True, help=argparse.SUPPRESS)
    for name, about in VERBS.items():
        sub = verbs.add_parser(
            name, help=about, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name not in filled:
            continue
        module = importlib.import_module(f"concept_icd.cli.{name.replace('-', '_')}")
        sub.epilog = f"example:\n  {module.EXAMPLE}"
        module.add_arguments(sub)
        _add_loudness(sub)
        sub.set_defaults(run=module.run, inputs=getattr(module, "INPUTS", ()))
        for flag in ("PASSES_OPTIONS_ON", "THREADS_SPIN", "ENDS_BY_SIGNAL"):
            sub.set_defaults(**{flag.lower(): getattr(module, flag, False)})
    return parser


def _add_loudness(parser: argparse.ArgumentParser) -> None:
    """`-q` and `-v`, of a verb and of the verbs below it; without them the namespace holds nothing."""
    for option, level, about in (
        (("-q", "--quiet"), logging.WARNING, "tell nothing but warnings and errors; no progress"),
        (("-v", "--verbose"), logging.DEBUG, "also tell what takes how long"),
    ):
        given: dict[str, Any] = {"dest": "loudness", "const": level, "default": argparse.SUPPRESS, "help": about}
        parser.add_argument(*option, action="store_const", **given)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                _add_loudness(below)


def whole_parser() -> Parser:
    """The parser with the options of every verb, its verbs not hidden from who walks through it."""
    parser = _parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            action.help = "what to do"
    return parser


def _groups() -> str:
    """The verbs by what one does with them, each on a line of its own."""
    width, lines = shutil.get_terminal_size().columns - 2, []
    for group, verbs in GROUPS.items():
        lines.append(f"{group}:")
        for verb, about in verbs.items():
            lines += textwrap.wrap(f"  {verb:<14}{about}", width, subsequent_indent=" " * 16, break_on_hyphens=False)
        lines.append("")
    return "\n".join(
        [
            *lines,
            "concept-icd VERB --help prints the options of a verb and an example.",
            "Suggestions are for research and must be validated by a professional coder.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
