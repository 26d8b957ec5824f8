"""README.md and CONTRIBUTING.md promise what is there: commands parse, files exist, examples run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from concept_icd import __version__
from tests.fitted_coder import Fitted

ROOT = Path(__file__).resolve().parent.parent
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
README = PAGES["README.md"]
FOLDERS = "benchmarks|concept_icd|configs|examples|ontology|prompts|scripts|tests"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The command lines of a program in the README's blocks, and in its running text between backticks."""
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(rf"`({program} [^`]*--[^`]*)`", README)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("arguments", commands("concept-icd"), ids=" ".join)
def test_command_parses(arguments: list[str]) -> None:
    from concept_icd.cli.main import _parser

    args, others = _parser().parse_known_args(arguments)
    assert callable(args.run)
    assert not others or args.passes_options_on


def test_parser_refuses_what_is_not_there() -> None:
    from concept_icd.cli.main import _parser

    with pytest.raises(SystemExit):
        _parser().parse_args(["code", "note.txt", "--colour", "blue"])


def test_every_verb_is_shown() -> None:
    from concept_icd.cli.main import VERBS

    assert [verb for verb in VERBS if f"concept-icd {verb}" not in README] == []


def test_tuning_command_has_options_that_exist(tmp_path: Path) -> None:
    from concept_icd.tuning.config import parse_options

    (arguments,) = (found for found in commands("accelerate") if "scripts/finetune.py" in found)
    script = arguments.index("scripts/finetune.py")
    options = [str(ROOT / word) if word.startswith("configs/") else word for word in arguments[script + 1 :]]
    concepts, training, model = parse_options(options)
    assert (concepts.corpus, training.output_dir, model.model_name_or_path) == ("runs/corpus", "runs/tuned", "MODEL")


def test_ltr_icd_command_has_options_that_exist() -> None:
    from concept_icd.baselines.ltr_icd.config import parse_options

    (arguments,) = (found for found in commands("accelerate") if "scripts/train_ltr_icd.py" in found)
    script = arguments.index("scripts/train_ltr_icd.py")
    parse_options([str(ROOT / word) if word.startswith("configs/") else word for word in arguments[script + 1 :]])


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    links = re.findall(r"\]\(([^)#][^)]*)\)", PAGES[page])
    named = set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w", PAGES[page]))
    named |= {link for link in links if "://" not in link}
    assert len(named) > 5
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z_-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    scripts = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    targets |= {f"bench-{path.stem}" for path in scripts}
    named = set(re.findall(r"(?:^ *|`)make ([a-z_-]+)", PAGES[page], flags=re.MULTILINE))
    assert named
    assert named <= targets


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    coding, measuring = blocks("python")
    exec(coding, {})
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("1 ")
    exec(measuring, {})
    micro_f1, rank_errors = capsys.readouterr().out.splitlines()
    assert float(micro_f1) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # hits .9 and .8, false alarm .6, miss .2
    assert rank_errors == "{'rank_errors_at_50': 0.0, 'rank_errors_at_100': 0.5}"


def test_example_lines_are_read(tmp_path: Path) -> None:
    from concept_icd.corpora import read_jsonl
    from concept_icd.readers.predictions import read_gold, read_predictions

    files = []
    for number, block in enumerate(blocks("jsonl")):
        files.append(tmp_path / f"{number}.jsonl")
        files[-1].write_text(block, encoding="utf-8")
    corpus, full, short = files
    (note,) = read_jsonl(corpus)
    assert (note.diagnoses, note.procedures) == (("428.0", "401.9"), ("38.93",))
    assert read_gold(corpus).codes["a1"] == note.codes
    assert read_predictions(full).codes == ("428.0",)
    assert read_predictions(short).codes == ("428.0", "401.9")


def test_predictions_example_has_the_fields_of_a_result(fitted: Fitted) -> None:
    import json

    example = json.loads(blocks("jsonl")[1])
    result = next(fitted.coder.results(fitted.scores, 1)).to_dict()
    assert example.keys() == result.keys()
    assert example["codes"][0].keys() == result["codes"][0].keys()
    assert example["codes"][0]["concepts"][0].keys() == result["codes"][0]["concepts"][0].keys()


def test_changelog_has_this_version() -> None:
    headings = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == __version__


def test_install_commands_name_extras_that_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for group in re.findall(r"\.\[([\w,]+)\]", README) for extra in group.split(",")}
    assert named
    assert named <= extras.keys()
