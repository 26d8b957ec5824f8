"""What README.md, CONTRIBUTING.md and docs/ promise is there: commands parse, files exist, examples run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.fitted_coder import Fitted
from tests.printed_commands import PAGES as WRITTEN
from tests.printed_commands import ROOT
from tests.test_structure import LAYERS

PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in (*WRITTEN, "CONTRIBUTING.md")}
README = PAGES["README.md"]
FOLDERS = "benchmarks|concept_icd|configs|examples|ontology|prompts|scripts|tests"
#: Where the checkout's files stand for those who have no checkout.
REPOSITORY = "https://github.com/concept-icd/concept-icd"
#: Made while the site is built (tests/test_docs_site.py).
MADE = ("architecture.svg",)


def blocks(language: str, *pages: str) -> list[str]:
    found = [re.findall(rf"^```{language}\n(.*?)^```$", PAGES[p], re.MULTILINE | re.DOTALL) for p in pages or PAGES]
    return [block for page in found for block in page]


def commands(program: str) -> list[list[str]]:
    """The command lines of a program in the pages' blocks, and in their running text between backticks."""
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    running = re.findall(rf"`({program} [^`]*--[^`]*)`", "\n".join(PAGES.values()))
    lines += [line for line in running if not line.endswith(("--help", "--version"))]
    found = [" ".join(shlex.split(line, comments=True)[1:]) for line in lines if line.startswith(f"{program} ")]
    return [shlex.split(line) for line in dict.fromkeys(found)]


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

    table = PAGES["docs/index.md"].partition("## The verbs")[2]
    assert [verb for verb in VERBS if f"`concept-icd {verb}`" not in table] == []


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


def targets(page: str) -> list[str]:
    """What a page links to or shows."""
    return re.findall(r"\]\(([^)#\s][^)\s]*)\)", PAGES[page])


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    named = set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w", PAGES[page]))
    beside = {link.partition("#")[0] for link in targets(page) if "://" not in link}
    found = {name: ROOT / name for name in named} | {link: (ROOT / page).parent / link for link in beside}
    made = {(ROOT / "docs" / name).resolve() for name in MADE}
    lost = sorted(name for name, path in found.items() if not path.exists() and path.resolve() not in made)
    assert lost == []


def test_links_into_the_repository_lead_to_files() -> None:
    pattern = rf"{REPOSITORY}/(?:blob|raw|tree)/main/([\w./-]*\w)"
    named = {name for text in PAGES.values() for name in re.findall(pattern, text)}
    assert len(named) > 8
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_readme_is_short_and_reads_outside_of_a_checkout() -> None:
    """A package index shows it alone: every link and picture has its whole address."""
    assert len(README.splitlines()) <= 150
    assert len(targets("README.md")) > 8
    assert [link for link in targets("README.md") if not link.startswith("https://")] == []


def test_commit_of_the_blind_result_is_one() -> None:
    import subprocess

    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    done = subprocess.run(["git", "cat-file", "-t", "977cdbc"], cwd=ROOT, capture_output=True, text=True)
    if (
        done.returncode
        and "true"
        in subprocess.run(
            ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True
        ).stdout
    ):
        pytest.skip("this checkout has no history")
    assert done.stdout.strip() == "commit"


def test_layers_are_named_in_their_order() -> None:
    """CONTRIBUTING.md has the layers of tests/test_structure.py, one a line, from the ground up."""
    section = PAGES["CONTRIBUTING.md"].partition("## Layers")[2].partition("\n## ")[0]
    lines = [
        re.findall(r"`([\w.]+)`", line.partition(":")[0]) for line in section.splitlines() if re.match(r"\d+\. ", line)
    ]
    assert [set(line) for line in lines] == [set(layer) for layer in LAYERS]


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z_-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    scripts = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    targets |= {f"bench-{path.stem}" for path in scripts}
    named = set(re.findall(r"(?:^ *|`)make ([a-z0-9_-]+)(?![<a-z0-9_-])", PAGES[page], flags=re.MULTILINE))
    assert named <= targets
    assert named or page not in ("README.md", "CONTRIBUTING.md")


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (coding,) = dict.fromkeys(blocks("python", "README.md", "docs/howto/code-a-corpus.md"))  # the same on both
    exec(coding, {})
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("1 ")
    (calling,) = blocks("python", "docs/reference/python.md")
    exec(calling, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "['486', '593.70']"
    assert lines[1].startswith("(2, 45) ")
    assert lines[-1] == "Condition"
    (measuring,) = blocks("python", "docs/howto/evaluate.md")
    assert set(blocks("python")) == {coding, calling, measuring}
    exec(measuring, {})
    micro_f1, rank_errors = capsys.readouterr().out.splitlines()
    assert float(micro_f1) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # hits .9 and .8, false alarm .6, miss .2
    assert rank_errors == "{'rank_errors_at_50': 0.0, 'rank_errors_at_100': 0.5}"


def test_example_lines_are_read(tmp_path: Path) -> None:
    from concept_icd.corpora import read_jsonl
    from concept_icd.readers.predictions import read_gold, read_predictions

    files = []
    formats = blocks("jsonl", "docs/reference/formats.md")
    assert set(blocks("jsonl")) == set(formats)
    for number, block in enumerate(formats):
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

    example = json.loads(blocks("jsonl", "docs/reference/formats.md")[1])
    result = next(fitted.coder.results(fitted.scores, 1)).to_dict()
    assert example.keys() == result.keys()
    assert example["codes"][0].keys() == result["codes"][0].keys()
    assert example["codes"][0]["concepts"][0].keys() == result["codes"][0]["concepts"][0].keys()


def test_install_commands_name_extras_that_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for group in re.findall(r"\.\[([\w,]+)\]", "\n".join(PAGES.values())) for extra in group.split(",")}
    assert named
    assert named <= extras.keys()


def test_formats_page_names_every_file_of_a_stage() -> None:
    from concept_icd.outputs import _STAGES

    page = PAGES["docs/reference/formats.md"]
    patterns = {pattern for name, stage in _STAGES.items() if name != "model" for pattern in stage.files}
    names = {re.split(r"\*|\.csv", pattern.rpartition("/")[2])[0] for pattern in patterns} - {""}
    assert len(names) > 25
    assert sorted(name for name in names if f"`{name}" not in page and f"/{name}" not in page) == []


def test_formats_page_has_the_numbers_of_the_formats() -> None:
    from concept_icd.baselines.ltr_icd import config as ltr_icd
    from concept_icd.coder import folder
    from concept_icd.corpora import store
    from concept_icd.heads import fitting
    from concept_icd.medications import folder as stays
    from concept_icd.scoring import selection

    page = PAGES["docs/reference/formats.md"]
    assert f"`format` {folder.FORMAT} in `coder.json`, {fitting.FORMAT} in `heads.json`" in page
    assert f"| `concept-icd prepare` | `format_version` {store.FORMAT_VERSION} in" in page
    assert f"`format_version` {stays.FORMAT_VERSION} in `manifest.json` |\n\nA folder" in page
    assert f"`format_version` {ltr_icd.FORMAT} in `model/config.json`" in page
    assert f"if not all: `format` {selection.FORMAT}," in page


def test_file_formats_are_those_of_a_run(fitted: Fitted, tmp_path: Path) -> None:
    """A coder's folder holds the files, and `coder.json` the keys, that the page names."""
    import json

    page = PAGES["docs/reference/formats.md"].partition("## A coder")[2].partition("\n## ")[0]
    fitted.coder.save_pretrained(tmp_path / "coder")
    assert [path.name for path in (tmp_path / "coder").iterdir() if f"`{path.name}" not in page] == []
    keys = json.loads((tmp_path / "coder" / "coder.json").read_text(encoding="utf-8")).keys()
    assert sorted(key for key in keys if f"`{key}`" not in page) == []


def test_readme_shows_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is the command's own, but for the last digit of its figures."""
    from concept_icd.cli.main import main

    (line,) = (line for line in blocks("bash", "README.md")[0].splitlines() if "reflux_follow_up" in line)
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(line, comments=True)[1:]) == 0
    shown, printed = (
        re.sub(r"[+-]?\d+\.\d+%?(?= )", "N", text) for text in (blocks("text", "README.md")[0], capsys.readouterr().out)
    )
    assert printed.startswith(shown)
