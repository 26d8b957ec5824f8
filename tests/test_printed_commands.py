"""Every command that README.md, the pages of docs/ and each verb's --help print runs as printed, with exit code 0.

Names such as MODEL or MIMIC_DIR are files and folders of these very names in a scratch folder: the tiny model, invented
notes and tables. Model names of the hub lead to the tiny model too, through a cache of the hub's form, so that the
configs for large models run as they are.
"""

from __future__ import annotations

import gzip
import importlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import pytest
import yaml

from concept_icd.cli.main import VERBS, main
from concept_icd.corpora import load_corpus, read_text_folder, synthetic_notes
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.llm.reference import TINY
from concept_icd.records import CodedNote
from tests.printed_commands import PAGES, README, ROOT, blocks

#: What is not run here, and why.
ELSEWHERE = {
    r"(pip install|make setup)\b.*": "CI's first stage, and the packaging test, install",
    r".*\bvllm\b.*|.*--scorer server.*": "vLLM has an environment of its own: make test-vllm",
    r"ray (start|get-auth-token)\b.*|.*--ray-address auto": "a cluster of several machines",
    r"make demo": "the next line's verb, which the target runs",
}


#: What `make demo` runs.
DEMO = "concept-icd demo"


def here(line: str) -> bool:
    return not any(re.fullmatch(pattern, line) for pattern in ELSEWHERE)


def printed(page: str) -> list[str]:
    """The lines of a page that run here."""
    return [line for block in blocks(page, "bash") for line in block.lines if here(line)]


#: Page by page, in an order in which each finds what those before it made.
ONE_LAPTOP = (
    README,
    "docs/howto/install.md",
    "docs/guides/researcher.md",
    "docs/howto/code-a-corpus.md",
    "docs/guides/engineer.md",
    "docs/guides/coder.md",
    "docs/howto/evaluate.md",
    "docs/howto/own-corpus.md",
    "docs/howto/warm-up.md",
    "docs/howto/scale.md",
    "docs/howto/gpu.md",
    "docs/howto/fewer-questions.md",
    "docs/howto/experts.md",
    "docs/howto/desk.md",
)
RAW_TABLES = (
    "docs/howto/mimic3.md",
    "docs/howto/codiesp.md",
    "docs/howto/billing-order.md",
    "docs/howto/compare.md",
    "docs/howto/baselines.md",
    "docs/howto/medications.md",
)


class Scratch:
    """A folder as a checkout's user has it, and the commands that were run in it."""

    def __init__(self, folder: Path, hub: Path) -> None:
        self.folder, self.done = folder, []
        for name in ("configs", "scripts", "examples", "prompts"):
            (folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "runs", folder / "runs", ignore=lambda *_: [], copy_function=shutil.copy)
        for path in (folder / "runs").iterdir():
            if path.suffix != ".sh":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / "MODEL").symlink_to(TINY)
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": programs, "HF_HOME": str(hub), "HF_HUB_OFFLINE": "1"}
        self.environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(self, line: str) -> None:
        """Runs a line as a shell does; the verbs in this process, which has imported what they need."""
        self.done.append(line)
        start = time.monotonic()
        self._run(line)
        print(f"{time.monotonic() - start:6.1f} s  {line}")

    def _run(self, line: str) -> None:
        if line.startswith("concept-icd serve"):
            self._serve(line)
        elif line.startswith("concept-icd ") and "--engine ray" not in line:
            assert main(shlex.split(line)[1:]) == 0, line
        else:
            done = subprocess.run(["bash", "-c", line], env=self.environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"

    def run_printed(self, page: str) -> None:
        """Runs the commands of a page, but for those that were run already."""
        for line in printed(page):
            if "preds_test.psv" in line:
                write_psv(Path("preds_test.psv"), Path("runs/mimic3-50/prepared"))
            if line not in self.done:
                self.run(line)

    def run_examples(self, *verbs: str) -> None:
        """Runs the commands that --help of these verbs prints, but for those that were run already."""
        for verb in verbs:
            module = importlib.import_module(f"concept_icd.cli.{verb.replace('-', '_')}")
            for line in module.EXAMPLE.splitlines():
                if line.strip() not in self.done:
                    self.run(line.strip())

    @staticmethod
    def _is_healthy(address: str) -> bool:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=60) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:  # 503 while the coder starts
            return False

    def _serve(self, line: str) -> None:
        log = self.folder / "serve.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*shlex.split(line), "--port", "0"], env=self.environment, stderr=file, stdout=file
            )
        try:
            for _ in range(600):  # until it says its address, and then that it can code
                time.sleep(0.2)
                address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
                if process.poll() is not None or (address and self._is_healthy(address[0])):
                    break
            assert process.poll() is None, log.read_text()
            assert address, log.read_text()
            assert self._is_healthy(address[0]), log.read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub in which every model that a config names is the tiny one."""
    home = tmp_path_factory.mktemp("hub")
    configs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "configs").glob("*.yaml")]
    for name in {config["model_name_or_path"] for config in configs} - {"tiny"}:
        folder = home / "hub" / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        shutil.copytree(TINY, folder / "snapshots" / ("0" * 40))
    return home


@pytest.fixture
def scratch(tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    import huggingface_hub.constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    environment = dict(os.environ)
    yield Scratch(tmp_path, hub)
    os.environ.clear()
    os.environ.update(environment)


def write_corpus(path: Path, notes: list[CodedNote], split: Callable[[int], str | None] = lambda _: None) -> None:
    lines = []
    for number, coded in enumerate(notes):
        codes = {"diagnoses": coded.diagnoses, "procedures": coded.procedures, "split": split(number)}
        note = {"note_id": coded.note.note_id, "text": coded.note.text, "patient_id": coded.note.patient_id}
        lines.append(json.dumps({name: value for name, value in (note | codes).items() if value}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_radiology_xml(path: Path) -> None:
    """The sample reports in the form of the CMC 2007 files."""
    gold = map(json.loads, (ROOT / "examples" / "gold.jsonl").read_text(encoding="utf-8").splitlines())
    codes = {Path(line["note_id"]).name: line["diagnoses"] for line in gold}
    reports = []
    for coded in read_text_folder(ROOT / "examples" / "radiology"):
        own = codes[Path(coded.note.note_id).name]
        given = "".join(f'<code origin="CMC_MAJORITY" type="ICD-9-CM">{code}</code>' for code in own)
        text = f'<text origin="CCHMC_RADIOLOGY" type="CLINICAL_HISTORY">{escape(coded.note.text)}</text>'
        reports.append(
            f'<doc id="{len(reports)}" type="RADIOLOGY_REPORT"><codes>{given}</codes><texts>{text}</texts></doc>'
        )
    path.parent.mkdir()
    path.write_text(f"<docs>{''.join(reports)}</docs>", encoding="utf-8")


def write_part_of_codiesp(folder: Path, source: Path) -> None:
    """Some of the public cases, in the JSON lines that the reader takes."""
    folder.mkdir()
    for split, count in {"train": 30, "dev": 12, "test": 16}.items():
        with gzip.open(source / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            cases = list(itertools.islice(file, count))
        with gzip.open(folder / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(cases)
        shutil.copy(source / f"{split}X.tsv.gz", folder)


def write_psv(path: Path, corpus: Path) -> None:
    """Predictions as CAML writes them: an admission a line, then its codes."""
    notes = [coded for coded in load_corpus(corpus).notes if coded.split == "test"]
    path.write_text("".join("|".join([coded.note.note_id, *coded.codes[:2]]) + "\n" for coded in notes))


class TestOneLaptop:
    """From the first line to the coder, the same corpus at every scale, and the examples of the verbs used."""

    @pytest.mark.slow(minutes=6)
    def test_it(self, scratch: Scratch) -> None:
        write_radiology_xml(scratch.folder / "CMC_FOLDER" / "train.xml")
        notes = synthetic_notes(notes=60, seed=3)
        write_corpus(Path("train.jsonl"), notes[:44], lambda number: "dev" if number % 4 == 0 else "train")
        write_corpus(Path("test.jsonl"), notes[44:])
        write_corpus(Path("notes.jsonl"), notes[:3])
        shutil.copy(ROOT / "examples" / "radiology" / "reflux_follow_up.txt", "note.txt")
        shutil.copytree(ROOT / "examples" / "discharge", "FOLDER_OF_TEXT_FILES")
        shutil.copytree(ROOT / "examples" / "radiology", "NOTES")
        for name, part in {"": notes[:20], "dev": notes[20:40]}.items():
            scores = (dict.fromkeys(note.codes, 0.9) | {"486": 0.4} for note in part)
            lines = [{"note_id": n.note.note_id, "probabilities": p} for n, p in zip(part, scores, strict=True)]
            Path(f"{name or 'predictions'}.jsonl").write_text("\n".join(map(json.dumps, lines)))
            write_corpus(Path(f"{name}_gold.jsonl".removeprefix("_")), part)
        shutil.copy("note.txt", "report.txt")
        for page in ONE_LAPTOP:
            scratch.run_printed(page)
        scratch.run_examples("demo", "run", "prepare", "warmup", "finetune", "score", "completion")
        scratch.run_examples("check-parity", "fit-selection", "fit", "evaluate", "code", "serve", "ontology")


class TestRawTables:
    """The benchmarks from raw tables, CodiEsp, billing order and medications, and the examples of the verbs used."""

    @pytest.mark.slow(minutes=5)
    def test_it(self, scratch: Scratch, shared_data: Path) -> None:
        write_synthetic_mimic3("MIMIC_DIR", 60, seed=0, note_rows=120, summary_length=300)
        write_synthetic_mimic3("NEW_DIR", 60, seed=5, note_rows=120, summary_length=100)
        Path("SPLITS_DIR").symlink_to("MIMIC_DIR/splits")
        write_part_of_codiesp(Path("CODIESP_DIR"), shared_data / "codiesp")
        Path("MAPS_DIR").symlink_to(shared_data / "icd9_maps")
        for path in (shared_data / "icd9cm" / "nchs_2011").iterdir():
            Path(path.name).symlink_to(path)
        Path("codes.txt").write_text("428.0\n486\n")
        for page in RAW_TABLES:
            scratch.run_printed(page)
        scratch.run_examples("doctor", "synth", "phrases", "compare", "baseline", "medications")


def test_every_page_is_run() -> None:
    """No page that prints commands is left out above."""
    with_commands = {page for page in PAGES if printed(page)}
    assert with_commands == {page for page in (*ONE_LAPTOP, *RAW_TABLES) if printed(page)}
    assert {line for page in PAGES for line in printed(page) if line.startswith("concept-icd demo")} >= {DEMO}


def test_every_example_is_run() -> None:
    """No verb's example is left out above."""
    named = re.findall(r'"([a-z-]+)"', "".join(re.findall(r"run_examples\((.*?)\)", Path(__file__).read_text())))
    assert sorted(named) == sorted(VERBS)


def test_the_demo_target_is_the_printed_command() -> None:
    recipe = re.search(r"^demo:.*\n\t(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == f"$(BIN)/{DEMO}"
