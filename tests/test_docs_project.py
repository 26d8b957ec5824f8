"""What a project needs beside its code: how to cite it, whom to tell of a weakness, what changed, what CI does."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from concept_icd import __version__
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
GITHUB = sorted((ROOT / ".github").rglob("*.yml"))
FORMS = [path for path in GITHUB if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml"]


def read(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


class TestAddress:
    def test_is_the_same_everywhere(self) -> None:
        citation, site = read("CITATION.cff"), (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
        assert {citation["repository-code"], citation["url"]} == {ADDRESS}
        assert f"repo_url: {ADDRESS}\n" in site
        assert all(url.startswith(ADDRESS) for url in PROJECT["urls"].values())
        own = ADDRESS.rpartition("/")[2]
        pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *GITHUB]
        found = {url for page in pages for url in re.findall(rf"https://[\w./-]*{own}(?=/)", page.read_text("utf-8"))}
        assert found == {ADDRESS}


class TestClassifiers:
    def test_are_known_and_name_the_versions_of_python_that_ci_runs(self) -> None:
        from trove_classifiers import classifiers

        assert set(PROJECT["classifiers"]) <= classifiers
        named = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
        assert named == read(".github/workflows/ci.yml")["jobs"]["all"]["strategy"]["matrix"]["python"]
        assert Version(named[0]) in Requirement(f"python{PROJECT['requires-python']}").specifier


class TestCitation:
    def test_has_what_the_format_asks_for(self) -> None:
        """The fields and their forms, as version 1.2.0 of the Citation File Format has them."""
        cff = read("CITATION.cff")
        known = {
            "cff-version",
            "message",
            "title",
            "type",
            "abstract",
            "authors",
            "version",
            "date-released",
            "license",
        }
        assert cff.keys() <= known | {"repository-code", "url", "keywords"}
        assert {"cff-version", "message", "title", "authors"} <= cff.keys()
        assert (cff["cff-version"], cff["type"], cff["license"]) == ("1.2.0", "software", PROJECT["license"])
        assert cff["authors"]
        assert all(author.keys() in ({"name"}, {"family-names", "given-names"}) for author in cff["authors"])
        assert isinstance(cff["date-released"], datetime.date)
        assert all(isinstance(word, str) for word in cff["keywords"])

    def test_is_of_the_released_version(self) -> None:
        cff = read("CITATION.cff")
        assert (str(cff["version"]), str(cff["date-released"])) == changes()[1][:2]


def changes() -> list[tuple[str, str, list[str]]]:
    """Version, date and kinds of changes of each entry of the changelog, in its order."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = []
    for entry in entries:
        heading = re.fullmatch(r"\[([\w.]+)\](?: - (\d{4}-\d{2}-\d{2}))?", entry.partition("\n")[0])
        assert heading is not None, entry.partition("\n")[0]
        found.append((heading[1], heading[2] or "", re.findall(r"^### (.*)$", entry, re.MULTILINE)))
    return found


class TestChangelog:
    def test_keeps_a_changelog(self) -> None:
        first, *released = changes()
        assert (first[0], first[1]) == ("Unreleased", "")
        kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        for _, _, own in changes():
            assert own == [kind for kind in kinds if kind in own]
        assert all(own for _, _, own in released)
        assert all(datetime.date.fromisoformat(date) for _, date, _ in released)
        versions = [Version(version) for version, _, _ in released]
        assert versions == sorted(versions, reverse=True)

    def test_has_this_version(self) -> None:
        _, newest, *_ = changes()
        text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        assert newest[0] == __version__
        for version, _, _ in changes():
            assert f"\n[{version}]: {ADDRESS}/" in text


class TestWorkflows:
    @pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
    def test_is_yaml(self, path: Path) -> None:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)

    @pytest.mark.parametrize("path", [path for path in GITHUB if path.parent.name == "workflows"], ids=lambda p: p.name)
    def test_has_the_form_of_a_workflow(self, path: Path) -> None:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content.keys() <= {"name", True, "permissions", "concurrency", "env", "jobs"}  # YAML reads "on" as true
        assert content[True].keys() <= {"push", "pull_request", "schedule", "workflow_dispatch"}
        assert content["permissions"] == {"contents": "read"}
        for job in content["jobs"].values():
            assert job.keys() <= {"name", "runs-on", "timeout-minutes", "strategy", "steps", "needs", "env"}
            assert {"runs-on", "timeout-minutes", "steps"} <= job.keys()
            for step in job["steps"]:
                assert step.keys() <= {"name", "uses", "run", "with", "env", "id", "if"}
                assert ("uses" in step) != ("run" in step)
                if "uses" in step:
                    assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])

    def test_expressions_name_what_there_is(self) -> None:
        text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
        named = set(re.findall(r"\$\{\{ *([\w.]+) *\}\}", text))
        assert named == {"github.workflow", "github.ref", "vars.PIP_EXTRA_INDEX_URL", "matrix.python"}
        assert text.count("${{") == len(re.findall(r"\$\{\{ *[\w.]+ *\}\}", text))

    def test_runs_what_is_there(self) -> None:
        jobs = read(".github/workflows/ci.yml")["jobs"]
        commands = "\n".join(step["run"] for job in jobs.values() for step in job["steps"] if "run" in step)
        assert ".ci/run" in commands.splitlines()
        assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in re.findall(r"^ *make ([a-z]+)", commands, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert all((ROOT / name).is_file() for name in re.findall(r"scripts/[\w./]+\.py", commands))

    def test_lets_no_third_party_run_with_a_key(self) -> None:
        text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
        assert "secrets." not in text
        assert "pull_request_target" not in text
        assert text.count("actions/checkout@") == text.count("persist-credentials: false")


class TestIssueForms:
    @pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
    def test_has_the_form_of_one(self, path: Path) -> None:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form.keys() == {"name", "description", "labels", "body"}
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert len({field["id"] for field in fields}) == len(fields) > 0
        assert all(field["attributes"]["label"] for field in fields)

    def test_asks_for_no_real_note(self) -> None:
        assert "Never paste the text of a real note" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text("utf-8")


class TestPreCommit:
    def test_needs_no_network(self) -> None:
        for repository in read(".pre-commit-config.yaml")["repos"]:
            assert repository["repo"] == "local"
            for hook in repository["hooks"]:
                assert hook["language"] == "system"
                assert hook["entry"].startswith(".venv/bin/")

    def test_runs_the_linters_of_make_lint(self) -> None:
        hooks = [
            hook["entry"] for repository in read(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]
        ]
        recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert recipe is not None
        linters = {line.split()[0].replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()}
        assert {entry.split()[0] for entry in hooks} == linters


class TestLowerBounds:
    def test_are_those_of_pyproject(self) -> None:
        from scripts.lower_bounds import lowest

        found = lowest(PROJECT)
        for need in map(Requirement, PROJECT["dependencies"]):
            assert found[canonicalize_name(need.name)] in need.specifier
        assert found["duckdb"] == Version("1.4")
        own = {"name": "own", "dependencies": ["a>=1", "B_c>=2,<3"]}
        optional = {"x": ["a>=1.5", "own[y]"], "y": ["d~=4.1"]}
        expected = {"a": Version("1.5"), "b-c": Version("2"), "d": Version("4.1")}
        assert lowest(own | {"optional-dependencies": optional}) == expected
        with pytest.raises(ValueError, match="'e<3' names no lowest version"):
            lowest(own | {"optional-dependencies": {"x": ["e<3"]}})
