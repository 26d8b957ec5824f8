"""Pages of the site that are made while it is built (hooks of MkDocs); none of them is committed.

- reference/cli.md: every verb and option, from the parsers
- architecture.svg: from the package's imports
- notebooks/*.md: from the notebooks beside them
- pygments.css: the colours of code
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from pygments.formatters import HtmlFormatter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import architecture

ROOT = Path(__file__).resolve().parents[2]
#: The one option whose help text is written elsewhere.
CONSENT = "Allows push_to_hub and trackers: you may publish what was learnt; on the command line alone"
#: Verbs whose options are the fields of dataclasses: what stands before a table, and the classes, by name.
FIELDS = {
    "warmup": [("Beside `--config`:", ("WarmupArguments", "WarmupOptions"))],
    "finetune": [
        (
            "Every option of TRL's `SFTConfig` and `ModelConfig` is one too. These are ours, or have another default:",
            ("ConceptArguments", "LoraModelConfig", "TuningConfig"),
        )
    ],
    "baseline": [
        ("Of every baseline:", ("CorpusOptions", "ThresholdOptions")),
        (
            "Of those that train a network, beside the options of transformers:",
            ("TrainingOptions",),
        ),
        ("Of `lora-classifier`:", ("ClassifierOptions", "ClassifierTraining")),
        ("Of `cec`:", ("CecOptions", "CecTraining")),
        ("Of `plm-icd` and `ltr-icd`:", ("ModelOptions", "LtrIcdTraining")),
    ],
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made."""
    made = {
        "reference/cli.md": command_line(),
        "architecture.svg": architecture.picture(architecture.imports()),
        "pygments.css": colours(),
    }
    for path in sorted((Path(config["docs_dir"]) / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{path.stem}.md"] = notebook(path)
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to a notebook lead to its page."""
    return re.sub(r"(\]\([\w./-]*notebooks/[\w-]+)\.ipynb\)", r"\1.md)", markdown)


def command_line() -> str:
    """A page with every verb of the command: what it does, an example, its options."""
    from concept_icd.cli.main import GROUPS, _parser

    parser = _parser()
    lines = [
        "# Command line",
        "",
        f"{parser.description} Exit codes: 0 done; 1 done, but some notes failed; 2 bad input; 130 and 143 stopped.",
        "",
    ]
    parsers = dict(_verbs(parser))
    for group, verbs in GROUPS.items():
        lines += [f"## {group.capitalize()}", ""]
        for name in verbs:
            lines += _verb(f"concept-icd {name}", parsers[name], 3)
            for caption, classes in FIELDS.get(name, []):
                rows = [row for each in classes for row in _fields(each)]
                lines += [caption, "", "| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines) + "\n"


def _verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from ((name, verb) for name, verb in action.choices.items())


def _verb(name: str, parser: argparse.ArgumentParser, depth: int) -> list[str]:
    about = _text(parser.description or "")
    lines = [f"{'#' * depth} {name}", "", about[:1].upper() + about[1:] + ("" if about.endswith(".") else "."), ""]
    if parser.epilog and parser.epilog.startswith("example:"):
        example = "\n".join(line.strip() for line in parser.epilog.splitlines()[1:])
        lines += ["```bash", example, "```", ""]
    rows = [row for action in parser._actions if (row := _option(action))]
    if rows:
        lines += ["| option | meaning |", "|---|---|", *rows, ""]
    for part, verb in _verbs(parser):
        lines += _verb(f"{name} {part}", verb, depth + 1)
    return lines


def _option(action: argparse.Action) -> str | None:
    if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)) or action.help == argparse.SUPPRESS:
        return None
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    if action.option_strings and action.nargs != 0:
        value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
        names += f" `{' '.join(value) if isinstance(value, tuple) else str(value).upper()}`"
    help_text = (action.help or "") % {**vars(action), "prog": "concept-icd"}
    needed = "; needed" if action.required and action.option_strings else ""
    default = "" if action.default in (None, False, argparse.SUPPRESS, []) else f"; default: `{action.default}`"
    if "default" in help_text:
        default = ""
    return f"| {names.replace('|', chr(92) + '|')} | {_text(help_text)}{needed}{default} |"


@cache
def _classes() -> dict[str, ast.ClassDef]:
    """Every class of the package by its name, from the source: importing it would import torch."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "concept_icd").rglob("*.py")]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(name: str) -> Iterator[str]:
    """Options that are the fields of a dataclass."""
    for field in _classes()[name].body:
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.value, ast.Call)):
            continue
        given = {word.arg: word.value for word in field.value.keywords}
        texts = [node.value for node in ast.walk(given["metadata"]) if isinstance(node, ast.Constant)]
        meaning = next(iter(texts[1:]), CONSENT)
        default = ast.unparse(given["default"]) if "default" in given else ""
        if isinstance(given.get("default_factory"), ast.Lambda):
            default = ast.unparse(given["default_factory"].body)
        known = f"; default: `{default}`" if default not in ("", "None") and "default" not in str(meaning) else ""
        needed = "" if {"default", "default_factory"} & given.keys() else "; needed"
        yield f"| `--{ast.unparse(field.target)}` | {_text(str(meaning)).removesuffix('.')}{needed}{known} |"


def _text(text: str) -> str:
    """A help text as Markdown: what Markdown would take for its own stays as it is."""
    plain = re.sub(r"([*_<|\[\]])", r"\\\1", " ".join(text.split()))
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\", ""), plain)


def notebook(path: Path) -> str:
    """A notebook as a page: its text, and its code in blocks."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + f"\n\nThe notebook itself: `docs/notebooks/{path.name}`.\n"


def colours() -> str:
    """The style of code, light and dark."""
    dark = HtmlFormatter(style="github-dark").get_style_defs("[data-bs-theme=dark] .highlight")
    return HtmlFormatter(style="default").get_style_defs(".highlight") + "\n" + dark
