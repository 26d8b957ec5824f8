"""The package as others get it: a wheel and an editable install, used from another folder; light to import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from concept_icd import __version__

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = ("prompts", "ontology", "configs", "examples")
#: Too slow to import for `concept-icd --help`.
HEAVY = (
    "torch",
    "numpy",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "sklearn",
    "scipy",
    "pyarrow",
    "duckdb",
    "rich",
    "yaml",
    "jinja2",
)

# What a user's own script does; it prints where it found things.
LOOK_AROUND = """
import json
import concept_icd
from concept_icd.llm.reference import TINY
from concept_icd.corpora import synthetic_notes
from concept_icd import load_ontology
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.resources import resource

names = ["prompts/concept.yaml", "prompts/propose_phrases.yaml", "ontology/icd9cm/diagnoses.tsv",
         "ontology/icd9cm/procedures.tsv", "configs/synthetic-tiny.yaml", "configs/accelerate/cpu.yaml",
         "examples/discharge/heart_failure.txt", "examples/gold.jsonl"]
NEEDED = ["report/templates/page.css", "report/templates/base.html", "report/published.yaml",
          "corpora/mimic3/synthetic/words.yaml", "py.typed"]
package = __import__("pathlib").Path(concept_icd.__file__).parent
print(json.dumps({
    "package": str(package),
    "resources": [str(resource(name)) for name in names],
    "missing": [name for name in NEEDED if not (package / name).is_file()],
    "tiny": sorted(file.name for file in TINY.iterdir()),
    "title": load_ontology().title("428.21"),
    "prompt": PromptTemplate.load("concept").name,
    "synthetic": len(synthetic_notes(notes=2, seed=0)),
}))
"""


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def python(code: str, cwd: Path, path: Path | str | None = None) -> str:
    """What a fresh interpreter prints in `cwd`, with `path` before what is installed."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ".")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked by pip into a folder of its own; the dependencies are those of the environment."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-compile", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Any:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


@pytest.mark.slow
class TestInAnotherFolder:
    def test_wheel_brings_all_that_it_reads(self, installed: Path, tmp_path: Path) -> None:
        found = json.loads(python(LOOK_AROUND, tmp_path, installed))
        assert found["package"] == str(installed / "concept_icd")
        assert all(path.startswith(str(installed / "concept_icd" / "_data")) for path in found["resources"])
        self.check(found)

    def test_editable_install_reads_the_checkout(self, tmp_path: Path) -> None:
        # The hook that `pip install -e .` calls; its .pth file is the line that Python adds to its path.
        hook = f"from hatchling.build import build_editable; print(build_editable({str(tmp_path)!r}))"
        name = python(hook, ROOT).split()[-1]
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert not [name for name in archive.namelist() if "_data" in name]  # a copy would go stale
            (path_file,) = (name for name in archive.namelist() if name.endswith(".pth"))
            on_path = archive.read(path_file).decode().strip()
        found = json.loads(python(LOOK_AROUND, tmp_path, on_path))
        assert found["package"] == str(ROOT / "concept_icd")
        assert str(ROOT / "prompts" / "concept.yaml") in found["resources"]
        self.check(found)

    def check(self, found: dict[str, Any]) -> None:
        assert found["missing"] == []
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(found["tiny"])
        assert found["title"].startswith("Acute systolic heart failure")
        assert (found["prompt"], found["synthetic"]) == ("concept", 2)

    def test_installed_command_shows_a_code(self, installed: Path, tmp_path: Path) -> None:
        command = [sys.executable, installed / "bin" / "concept-icd", "ontology", "show", "428.21"]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        lines = [line.split()[0] for line in done.stdout.splitlines()]
        assert (done.returncode, lines) == (0, ["390-459", "420-429", "428", "428.2", "428.21"])


@pytest.mark.slow
class TestWheel:
    def test_holds_every_file_of_the_shipped_folders(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            held = set(archive.namelist())
        shipped = {
            f"concept_icd/_data/{file.relative_to(ROOT).as_posix()}"
            for name in TOP_LEVEL
            for file in (ROOT / name).rglob("*")
            if file.is_file()
        }
        inside = {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / "concept_icd").rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert shipped | inside <= held
        assert f"concept_icd-{__version__}.dist-info/licenses/LICENSE" in held

    def test_holds_nothing_else(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            held = archive.namelist()
        assert {name.split("/")[0] for name in held} == {"concept_icd", f"concept_icd-{__version__}.dist-info"}
        assert not [name for name in held if name.endswith((".pkl", ".pickle", ".bin", ".pt", ".pth", ".pyc", ".xml"))]

    def test_core_stays_clear_of_servers_and_engines(self, metadata: Any) -> None:
        needed = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
        core = {canonicalize_name(need.name) for need in needed if need.marker is None}
        assert core >= {"torch", "transformers", "peft", "safetensors"}
        assert not core & {"vllm", "ray", "fastapi", "uvicorn", "trl", "datasets", "bitsandbytes", "pytest", "wandb"}
        assert set(metadata.get_all("Provides-Extra")) >= {"train", "vllm", "ray", "desk", "phrases", "dev"}

    def test_asks_for_ranges(self, metadata: Any) -> None:
        needed = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
        assert not [str(need) for need in needed if any(part.operator == "==" for part in need.specifier)]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if not line.startswith("#")}


class TestConstraints:
    def test_are_exact_and_name_no_machine(self, pins: dict[str, str]) -> None:
        assert pins["torch"] == "2.13.0"
        assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values())
        assert not [name for name in pins if name.startswith("nvidia")]

    def test_lie_in_the_ranges_of_the_package(self, pins: dict[str, str]) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        asked = project["dependencies"] + extras["train"] + extras["phrases"] + extras["ontology"] + extras["dev"]
        for need in map(Requirement, asked):
            if need.name != "concept-icd":
                assert need.specifier.contains(pins[canonicalize_name(need.name)]), need


class TestImport:
    def heavy_after(self, code: str, cwd: Path) -> list[str]:
        report = "import sys; print([name for name in sys.argv[1].split() if name in sys.modules], file=sys.stderr)"
        command = [sys.executable, "-c", f"{code}\n{report}", " ".join(HEAVY)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))

    def test_package(self) -> None:
        assert self.heavy_after("import concept_icd; assert concept_icd.__version__", ROOT) == []

    @pytest.mark.parametrize("arguments", [["--help"], ["code", "--help"], ["demo", "--help"]])
    def test_help(self, arguments: list[str]) -> None:
        code = f"from concept_icd.cli.main import main\ntry: main({arguments})\nexcept SystemExit: pass"
        assert self.heavy_after(code, ROOT) == []

    def test_check_sees_a_heavy_module(self) -> None:
        assert self.heavy_after("import concept_icd; concept_icd.ConceptSet", ROOT) != []

    def test_every_public_name_loads(self) -> None:
        import concept_icd

        assert all(getattr(concept_icd, name) for name in concept_icd.__all__)

    def test_core_alone_says_what_tuning_needs(self, tmp_path: Path) -> None:
        code = (
            "import sys; sys.modules['trl'] = None\nfrom concept_icd.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, "demo", "--notes", "100", "--out", tmp_path / "demo"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2
        told = f"concept-icd: trl is not installed; run: pip install '{ROOT}[train]'"
        assert done.stderr.splitlines()[-1] == told
