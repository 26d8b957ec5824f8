"""The package's plan: rooms in layers, imports that only go down, no circles, files of a size that one reads whole."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "concept_icd"
#: From the ground up: a room imports from its own and from rooms that stand before it. A room is a folder, or a module
#: that lies loose; a folder within a folder belongs to it unless it is named here.
LAYERS = (
    ("errors",),
    ("resources", "outputs", "files"),
    ("artifacts",),
    ("text",),
    ("records", "metrics"),
    ("progress",),
    ("ontology", "llm"),
    ("corpora",),
    ("readers",),
    ("scoring",),
    ("report",),
    ("heads",),
    ("medications",),
    ("experts", "medications.study"),
    ("coder", "tuning"),
    ("baselines", "doctor", "pipeline", "desk", "warmup"),
    ("cli",),
)
#: No file is longer, in lines.
LONGEST = 400


def modules() -> dict[str, Path]:
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").removesuffix(".")] = file
    return found


def imports(module: str, file: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports anywhere, also within a function or for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute"
            named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.removeprefix("concept_icd.") for name in named if name.startswith("concept_icd.")}
    return {name for name in found if name in known and name != module}


def room(module: str) -> str:
    rooms = {name for layer in LAYERS for name in layer}
    parts = module.split(".")
    return next((name for size in (2, 1) if (name := ".".join(parts[:size])) in rooms), parts[0])


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    return {module: imports(module, file, known) for module, file in known.items() if module}


def test_every_room_has_its_layer(graph):
    assert {room(module) for module in graph} == {name for layer in LAYERS for name in layer}


def test_no_import_goes_up_or_sideways(graph):
    floor = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = [
        f"{module} imports {other}"
        for module, others in sorted(graph.items())
        for other in sorted(others)
        if room(other) != room(module) and floor[room(other)] >= floor[room(module)]
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle(graph):
    # The face of a folder (__init__.py) hands names on; whoever imports a module beside it does not import the face.
    faces = {module for module, file in modules().items() if file.name == "__init__.py"}
    left = {module: others - faces for module, others in graph.items() if module not in faces}
    while free := [
        m for m, others in left.items() if not others & left.keys() or not any(m in o for o in left.values())
    ]:
        for module in free:
            del left[module]
    assert sorted(left) == []


def test_files_are_short():
    long = {
        str(file.relative_to(PACKAGE)): lines
        for file in PACKAGE.rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert long == {}


def test_modules_that_texts_name_are_there():
    known = modules()
    texts = [
        *PACKAGE.rglob("*.py"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "scripts").rglob("*.py"),
    ]
    missing = []
    for file in texts:
        for named in re.findall(r"\bconcept_icd((?:\.[a-z_0-9]+)+)", file.read_text(encoding="utf-8")):
            parts = named[1:].split(".")
            if not any(".".join(parts[:size]) in known for size in (len(parts), len(parts) - 1) if size):
                missing.append(f"{file.relative_to(ROOT)}: concept_icd{named}")
    assert missing == []
