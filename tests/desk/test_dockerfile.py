"""The Dockerfile's own commands; no image is built here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from urllib.parse import urlsplit

from concept_icd.cli.main import _parser
from tests.conftest import ROOT
from tests.desk.service import Service

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def words(instruction: str) -> list[str]:
    found = re.findall(rf"{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    listed: list[str] = json.loads(found[-1])
    return listed


def test_what_it_starts_is_what_the_command_takes() -> None:
    command, *arguments = words("ENTRYPOINT") + words("CMD")
    args = _parser().parse_args(arguments)
    assert command == "concept-icd"
    assert (args.host, str(args.notes), str(args.coder)) == ("0.0.0.0", "/notes", "/coder")
    assert f"EXPOSE {args.port}" in DOCKERFILE
    assert "USER desk" in DOCKERFILE


def test_the_health_check_knows_well_from_ill(service: Service) -> None:
    check = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])\n", DOCKERFILE, re.DOTALL)
    assert check is not None
    _, option, program = json.loads(check[1])
    port = str(urlsplit(service.url).port)

    def code(program: str) -> int:
        return subprocess.run(
            [sys.executable, option, program], capture_output=True, timeout=60, check=False
        ).returncode

    assert code(program.replace("8321", port)) == 0
    assert code(program.replace("8321", port).replace("healthz", "missing")) != 0


def test_the_context_holds_what_the_wheel_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "concept_icd", "prompts", "ontology")
    for name in (*needed, "configs", "examples"):
        assert (ROOT / name).exists()
        assert not any(fnmatch(name, pattern) for pattern in ignored)
