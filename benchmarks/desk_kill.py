"""Kills the desk's server with SIGKILL in the middle of reviews, and looks for what it had acknowledged.

    python benchmarks/desk_kill.py --coder runs/demo/coder --out benchmarks/results/desk_kill.json

Four people decide on three notes as fast as the server answers; two of them share a note. Between kills the record is
all that stays. With --postgresql the record is in a real PostgreSQL server, which is not killed.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from common import arguments, record

from concept_icd.artifacts import write_json
from concept_icd.cli.code import DEFAULT_CODER
from tests.desk.killing import kill_in_mid_review
from tests.desk.postgresql import running_postgresql


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coder", type=Path, default=DEFAULT_CODER)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        sqlite = nullcontext(f"sqlite:///{folder}/record.sqlite")
        with running_postgresql() if args.postgresql else sqlite as url:
            session, wrong = kill_in_mid_review(args.coder, Path(folder), url, args.rounds, args.seed)
    found: dict[str, Any] = {
        **record("desk_kill.py", args.seed),
        "database": "PostgreSQL" if args.postgresql else "SQLite",
        "kills": args.rounds,
        "decisions_acknowledged": session.count,
        "conflicts_told": session.conflicts,
        "requests_cut_off": session.unanswered,
        "wrong_afterwards": wrong,
    }
    write_json(args.out, found)
    print({name: found[name] for name in ("kills", "decisions_acknowledged", "conflicts_told", "wrong_afterwards")})


if __name__ == "__main__":
    main()
