"""The `concept-icd` command: one module a verb, imported only when its verb (or the help) is asked for.

A verb's module has `HELP` (one line), `EXAMPLE` (a command that runs), `add_arguments(parser)` and `run(args) -> int`.
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
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from concept_icd import __version__
from concept_icd.errors import InputError

#: In the order of the flow.
VERBS = (
    "doctor",
    "ontology",
    "phrases",
    "synth",
    "prepare",
    "finetune",
    "score",
    "check-parity",
    "fit-descent",
    "fit",
    "evaluate",
    "compare",
    "baseline",
    "study",
    "code",
    "serve",
    "code-stays",
    "run",
    "demo",
)


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; an `InputError` becomes one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file that is not UTF-8 is printed with escapes
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    args, others = parser.parse_known_args(argv)
    args.others = others
    if not args.threads_spin:
        # Where other programs share the cores, threads that spin while they wait make everything many times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    if others and not args.passes_options_on:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        from concept_icd.outputs import private_files, reading

        given = (getattr(args, name, None) for name in args.inputs)
        with private_files(), reading(_flat(given)), nullcontext() if args.ends_by_signal else _stoppable():
            return int(args.run(args))
    except InputError as error:
        print(f"concept-icd: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader (head, less) has gone; nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stopped:
        print("concept-icd: stopped; the same command goes on where it was", file=sys.stderr)
        return 128 + getattr(stopped, "signal", signal.SIGINT)


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="concept-icd",
        description="Reads a clinical note and returns ranked ICD-9-CM codes with the concepts that carried them.",
        epilog="Suggestions are for research and must be validated by a professional coder.",
    )
    parser.add_argument("--version", action="version", version=f"concept-icd {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in VERBS:
        module = importlib.import_module(f"concept_icd.cli.{name.replace('-', '_')}")
        sub = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, inputs=getattr(module, "INPUTS", ()))
        for flag in ("PASSES_OPTIONS_ON", "THREADS_SPIN", "ENDS_BY_SIGNAL"):
            sub.set_defaults(**{flag.lower(): getattr(module, flag, False)})
    return parser


if __name__ == "__main__":
    sys.exit(main())
