"""Kills the desk's server with SIGKILL in the middle of reviews, and looks for what it had acknowledged.

    python benchmarks/desk_kill.py --coder runs/demo/coder --out benchmarks/results/desk_kill.json

Four people decide on three notes as fast as the server answers; two of them share a note. Between kills the record is
all that stays. With --postgresql the record is in a real PostgreSQL server, which is not killed.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path

from common import arguments, finish, parser_of

from concept_icd.cli.code import DEFAULT_CODER
from tests.desk.killing import kill_in_mid_review
from tests.desk.postgresql import running_postgresql


def main() -> None:
    parser = parser_of(__doc__, rounds=20)
    parser.add_argument("--coder", type=Path, default=DEFAULT_CODER)
    parser.add_argument("--postgresql", action="store_true")
    args = arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        sqlite = nullcontext(f"sqlite:///{folder}/record.sqlite")
        with running_postgresql() if args.postgresql else sqlite as url:
            session, wrong = kill_in_mid_review(args.coder, Path(folder), url, args.rounds, args.seed)
    found = {
        "database": "PostgreSQL" if args.postgresql else "SQLite",
        "kills": args.rounds,
        "decisions_acknowledged": session.count,
        "conflicts_told": session.conflicts,
        "requests_cut_off": session.unanswered,
        "wrong_afterwards": wrong,
    }
    finish(args, found)


if __name__ == "__main__":
    main()
