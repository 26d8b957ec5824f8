"""The site of the documentation: it builds without a warning, has what is made from the code, and fetches nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT
from tests.printed_commands import PAGES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Links(HTMLParser):
    """What a page loads by itself, what it leads to, and the places that can be led to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag == "link" and found.get("rel") != "canonical":
            self.loads.append(found["href"])
        self.loads += [found[name] for name in ("src", "srcset", "data", "poster", "action") if name in found]
        if tag == "a" and "href" in found:
            self.leads.append(found["href"])


@pytest.mark.slow(minutes=0.2)
class TestSite:
    def test_pages_load_nothing_from_elsewhere(self, site: Path) -> None:
        pages = sorted(site.rglob("*.html"))
        assert len(pages) > 25
        loads = {(page.relative_to(site), link) for page in pages for link in Links(page).loads}
        assert len(loads) > 100
        assert [load for load in sorted(loads) if urlsplit(load[1]).scheme or load[1].startswith("//")] == []
        sheets = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
        fetched = re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]*)", sheets)
        assert fetched == []

    def test_scripts_and_pictures_name_no_address_as_a_string(self, site: Path) -> None:
        """But for what a picture is in; the authors' pages stand in comments. What is fetched, a browser says below."""
        named = {
            (path.name, url)
            for path in [*site.rglob("*.js"), *site.rglob("*.svg")]
            for url in re.findall(r"[\"'`]((?:https?:)?//[\w-]+\.[^\"'`\s]+)[\"'`]", path.read_text(encoding="utf-8"))
        }
        assert {url for _, url in named} == {"http://www.w3.org/2000/svg"}
        assert {name for name, _ in named if name.endswith(".js")} == set()

    def test_links_within_lead_to_what_is_there(self, site: Path) -> None:
        lost = []
        places = {page: Links(page).places for page in site.rglob("*.html")}
        for page in places:
            for link in Links(page).leads:
                parts = urlsplit(link)
                if parts.scheme or page.name == "404.html" or not link.strip("#"):
                    continue
                target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                if not target.is_file() or (parts.fragment and parts.fragment not in places.get(target, set())):
                    lost.append((page.relative_to(site).as_posix(), link))
        assert lost == []

    def test_reference_has_every_verb_and_option(self, site: Path) -> None:
        import argparse

        from concept_icd.cli.main import _parser

        page = re.sub(r"<[^>]+>", "", (site / "reference" / "cli.html").read_text(encoding="utf-8"))

        def check(name: str, parser: argparse.ArgumentParser) -> int:
            options = 0
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    for verb, own in action.choices.items():
                        assert f"{name} {verb}" in page
                        options += check(f"{name} {verb}", own)
                elif action.help != argparse.SUPPRESS and name != "concept-icd":
                    assert all(option in page for option in action.option_strings if option not in ("-h", "--help"))
                    options += 1
            return options

        assert check("concept-icd", _parser()) > 100

    def test_every_option_that_a_page_names_is_in_the_reference(self, site: Path) -> None:
        others = "--address --disable-usage-stats --generate --head --enable-lora --lora-modules"  # Ray's and vLLM's
        others += " --enable-prompt-tokens-details --hf-overrides"  # vLLM's
        others += " --config_file --build-arg --version --shape"  # accelerate's, Docker's, benchmarks/gpu.py's
        page = re.sub(r"<[^>]+>", "", (site / "reference" / "cli.html").read_text(encoding="utf-8"))
        known = {*re.findall(r"--[a-z][\w-]*", page), *others.split()}
        for name in (*PAGES, "SECURITY.md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known, name

    def test_reference_has_every_public_name(self, site: Path) -> None:
        import concept_icd
        import concept_icd.metrics

        page = (site / "reference" / "python.html").read_text(encoding="utf-8")
        for name in {*concept_icd.__all__, *concept_icd.metrics.__all__} - {"__version__"}:
            assert re.search(rf'id="[\w.]*\.{name}"', page), name
        assert "&gt;&gt;&gt; " in page

    def test_picture_of_the_architecture_has_every_folder(self, site: Path) -> None:
        drawing = (site / "architecture.svg").read_text(encoding="utf-8")
        folders = {path.parent.name for path in (ROOT / "concept_icd").glob("*/__init__.py")}
        assert len(folders) > 14
        assert sorted(name for name in folders if f">{name}</text>" not in drawing) == []

    def test_no_page_asks_another_machine(self, site: Path) -> None:
        """As a browser sees it, its scripts included: the pages are opened from the disk."""
        from tests.desk.page_browser import chromium

        asked: list[str] = []
        with chromium() as browser:
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            for name in ("index.html", "results.html", "reference/python.html", "howto/mimic3.html"):
                page.goto((site / name).as_uri())
                page.wait_for_load_state("networkidle")
        assert len(asked) > 20
        assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
