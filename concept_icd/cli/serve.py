"""`concept-icd serve`: the coder's desk in the browser, and an API beside it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from concept_icd.cli.code import add_coder_arguments, load_coder
from concept_icd.cli.options import add_format, columns_of
from concept_icd.errors import InputError, MissingExtraError

EXAMPLE = "concept-icd serve --notes notes.jsonl"
#: A note is some hundred short steps: threads that sleep between them take twice as long. A service with nothing to do
#: uses no processor all the same.
THREADS_SPIN = True
#: uvicorn answers what is under way first.
ENDS_BY_SIGNAL = True
#: Names a record without showing its password in the list of processes.
RECORD_VARIABLE = "CONCEPT_ICD_RECORD"
DEFAULT_RECORD = "sqlite:///runs/desk/record.sqlite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything has a default."""
    notes = "a corpus file or folder for the worklist (default: the sample notes of the package)"
    parser.add_argument("--notes", type=Path, metavar="CORPUS", help=notes)
    add_format(parser, "the notes")
    add_coder_arguments(parser)
    record = f"database of the decisions, SQLite or PostgreSQL (default: ${RECORD_VARIABLE}, or {DEFAULT_RECORD})"
    parser.add_argument("--record", metavar="URL", help=record)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8321, help="port to listen on (default: %(default)s)")
    tokens = "file of `NAME TOKEN` lines; needed, or $CONCEPT_ICD_TOKEN, where other machines can reach the address"
    parser.add_argument("--tokens", type=Path, metavar="FILE", help=tokens)
    allowed = "a further name under which browsers reach this service, e.g. behind a proxy; may be repeated"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=allowed)
    queue = "notes that may wait to be scored; more are answered 429 (default: %(default)s)"
    parser.add_argument("--queue", type=int, default=256, metavar="NOTES", help=queue)
    alone = "score each request by itself (to measure what scoring them together gains)"
    parser.add_argument("--no-micro-batching", action="store_true", help=alone)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def run(args: argparse.Namespace) -> int:
    """Serves until it is stopped."""
    try:
        import alembic  # noqa: F401
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "desk") from error
    from concept_icd.desk.settings import Limits, Settings, read_tokens, require_token_beyond_loopback

    if not 0 <= args.port <= 65535 or args.queue < 1:
        raise InputError("--port must be 0 to 65535, and --queue 1 or more")
    settings = Settings(
        host=args.host,
        port=args.port,
        tokens=read_tokens(args.tokens),
        allowed_hosts=tuple(args.allow_host),
        limits=Limits(queue_notes=args.queue),
        micro_batching=not args.no_micro_batching,
    )
    require_token_beyond_loopback(settings)

    from concept_icd.desk.desk import Desk
    from concept_icd.desk.record.store import Record
    from concept_icd.desk.server import serve
    from concept_icd.desk.worklist import read_worklist

    coder = load_coder(args)
    longest = settings.limits.note_characters
    worklist = read_worklist(args.notes, args.format, longest, columns_of(args), coder.classification)
    record = Record.open(
        args.record or os.environ.get(RECORD_VARIABLE) or DEFAULT_RECORD, settings.limits.record_seconds
    )
    serve(Desk(coder, record, worklist, settings), open_browser=args.open)
    return 0
