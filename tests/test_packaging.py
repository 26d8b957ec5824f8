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

#: What the core is installed without.
BLOCKED = ("torch", "transformers", "peft", "accelerate", "trl", "datasets", "bitsandbytes")
#: Begins a script that runs as where these are not installed.
CORE_ALONE = f"""
import sys
from concept_icd.cli.main import main

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
# What one does without them, and the exit code of each.
CORE_WORK = """
from dataclasses import replace
from concept_icd import ConceptCoder, ConceptSet, load_ontology
from concept_icd.corpora import load_corpus
from concept_icd.resources import resource
from concept_icd.scoring.specs import ScorerSpec
from concept_icd import PromptTemplate

reports, notes = resource("examples/radiology"), resource("examples/discharge")
(note, *_) = sorted(reports.glob("*.txt"))
for command in (
    ["code", note],
    ["code", note, "--evidence", "--json"],
    ["code", "--corpus", reports, "--out", "coded.jsonl"],
    ["prepare", "text", notes, "--out", "texts"],
    ["synth", "notes", "--notes", "60", "--out", "corpus"],
    ["ontology", "show", "428.21"],
    ["ontology", "search", "heart failure"],
    ["doctor"],
):
    assert main([str(word) for word in command]) == 0, command

coded = load_corpus("corpus").notes
codes = sorted({code for note in coded for code in note.codes})[:5]
concepts = ConceptSet.expand(codes, load_ontology("icd9cm"), levels=("chapter", "code"))
prompt = PromptTemplate.load("concept")
scores = ScorerSpec("light", "tiny", None, prompt).make().score([note.note for note in coded], concepts)
coder = ConceptCoder.fit(replace(scores, out_of_fold=True), coded, concepts, model="tiny", prompt=prompt)
coder.save_pretrained("coder")

for command in (
    ["code", "--corpus", "corpus", "--coder", "coder", "--out", "predictions.jsonl"],
    ["evaluate", "--predictions", "predictions.jsonl", "--gold", "corpus", "--split", "all", "--draws", "20",
     "--out", "evaluated"],
    ["compare", "a=predictions.jsonl", "b=predictions.jsonl", "--gold", "corpus", "--split", "all", "--draws", "20",
     "--out", "compared"],
):
    assert main(command) == 0, command
assert not {"torch", "transformers", "peft", "accelerate"} & set(sys.modules)
"""

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
        assert core >= {"numpy", "scipy", "scikit-learn", "tokenizers", "safetensors", "pyarrow", "rich", "pyyaml"}
        assert not core & {*BLOCKED, "vllm", "ray", "fastapi", "uvicorn", "pytest", "wandb"}
        assert set(metadata.get_all("Provides-Extra")) >= {"llm", "train", "vllm", "ray", "desk", "phrases", "dev"}

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
        names = ("llm", "train", "phrases", "ontology", "dev")
        asked = project["dependencies"] + [need for name in names for need in extras[name]]
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


def core_alone(code: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CORE_ALONE + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)})


class TestCore:
    """The package without the extras: the same environment, in which torch and its companions cannot be imported."""

    @pytest.mark.slow
    def test_codes_fits_and_evaluates(self, tmp_path: Path) -> None:
        done = core_alone(CORE_WORK, tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]

    @pytest.mark.parametrize(
        ("arguments", "package", "extra"),
        [
            ("demo --notes 100 --out demo", "torch", "train"),
            ("finetune --config synthetic-tiny --corpus corpus --output_dir tuned", "torch", "train"),
            ("baseline cec --corpus corpus --out cec", "torch", "train"),
            ("code NOTE --coder radiology --scorer packed", "torch", "llm"),
            ("code NOTE --coder radiology --scorer vllm", "torch", "llm"),
            ("medications code --model m --stays s --out codes.jsonl", "torch", "llm"),
        ],
    )
    def test_says_what_to_install(self, arguments: str, package: str, extra: str, tmp_path: Path) -> None:
        note = str(ROOT / "examples" / "radiology" / "asthma_atelectasis.txt")
        done = core_alone("sys.exit(main(sys.argv[1:]))", tmp_path, *arguments.replace("NOTE", note).split())
        assert done.returncode == 2, done.stderr[-2000:]
        told = f"concept-icd: {package} is not installed; run: pip install '{ROOT}[{extra}]'"
        assert done.stderr.splitlines()[-1].split(": ", 1)[1] == told.split(": ", 1)[1]
        assert "Traceback" not in done.stderr

    def test_names_of_python_say_it_too(self, tmp_path: Path) -> None:
        done = core_alone("from concept_icd import PackedScorer", tmp_path)
        assert done.stderr.splitlines()[-1].startswith("concept_icd.errors.MissingExtraError: torch is not installed;")
