"""The picture of the architecture, drawn from the package's own imports: folders as boxes, imports as arrows.

    python scripts/docs/architecture.py FILE.svg

A box stands one row above the highest box that it imports, so that every arrow points down. The modules that lie loose
in the package are the ground, but for those that import a folder: each of these is a box of its own.
"""

from __future__ import annotations

import ast
import itertools
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "concept_icd"
#: What a box holds, in a few words.
CONTENT = {
    "ground": "errors, files, manifests",
    "records": "Note, Code, Concept",
    "metrics": "formulas only",
    "text": "a note is cut here",
    "ontology": "codes and concepts",
    "llm": "models and prompts",
    "corpora": "notes, gold codes, folds",
    "readers": "predictions of anyone",
    "scoring": "scores of concepts",
    "heads": "scores to codes, order",
    "medications": "codes from drugs",
    "experts": "words, terms, drugs",
    "coder": "all of it, one folder",
    "baselines": "what others do",
    "tuning": "LoRA adapters",
    "report": "results and pages",
    "doctor": "what a run will cost",
    "pipeline": "all stages in a row",
    "desk": "page and API",
    "cli": "one verb a file",
}
#: Of a box; the place that an arrow has between boxes; between what stands in a row; of a row.
WIDTH, HEIGHT, LANE, GAP, ROW = 148, 44, 8, 18, 92


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Box -> the boxes that its modules import, wherever in a module the import stands."""
    folders = {path.name for path in package.iterdir() if path.is_dir()}
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).with_suffix("").parts[0]
        if own != "__init__":  # the face of the package hands names on
            found.setdefault(own, set()).update(_imported(path, package.name))
    found = {box: (targets & found.keys()) - {box} for box, targets in found.items()}
    ground = {box for box in found if box not in folders}
    while above := {box for box in ground if not found[box] <= ground}:
        ground -= above
    merged = {box: {"ground" if target in ground else target for target in found[box]} for box in found.keys() - ground}
    return {"ground": set(), **dict(sorted(merged.items()))}


def _imported(path: Path, package: str) -> set[str]:
    """What lies directly in the package of what a module imports."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            modules += [f"{package}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return {module.split(".")[1] for module in modules if module.startswith(f"{package}.")}


def levels(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Box -> its row, 0 at the bottom.

    Raises:
        ValueError: the imports go round in a circle.
    """
    rows: dict[str, int] = {}
    while len(rows) < len(arrows):
        free = [box for box, targets in arrows.items() if box not in rows and targets <= rows.keys()]
        if not free:
            raise ValueError(f"these import each other in a circle: {sorted(arrows.keys() - rows.keys())}")
        rows |= {box: max((rows[target] + 1 for target in arrows[box]), default=0) for box in free}
    return rows


def drawn(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows without those that another way through the boxes already shows."""

    def below(box: str) -> set[str]:
        return arrows[box].union(*(below(target) for target in arrows[box]))

    return {
        box: {target for target in targets if not any(target in below(other) for other in targets - {target})}
        for box, targets in arrows.items()
    }


def layout(shown: dict[str, set[str]], rows: dict[str, int]) -> tuple[dict[str, float], list[list[tuple[float, int]]]]:
    """Where the boxes stand, and the points of the arrows: (middle, row) each. Arrows pass between boxes, never behind.

    An arrow over several rows has a place of its own in each row between; what stands in a row is ordered by what it
    leads to in the row below.
    """
    ways = [
        [box, *((box, target, row) for row in range(rows[box] - 1, rows[target], -1)), target]
        for box, targets in sorted(shown.items())
        for target in sorted(targets)
    ]
    below: dict[object, list[object]] = {}
    for way in ways:
        for upper, lower in itertools.pairwise(way):
            below.setdefault(upper, []).append(lower)
    middle: dict[object, float] = {}
    for row in range(max(rows.values()) + 1):
        here = [box for box, own in rows.items() if own == row]
        here += [point for way in ways for point in way[1:-1] if point[2] == row]
        wanted = {each: _mean([middle[lower] for lower in below.get(each, [])]) for each in here}
        here.sort(key=lambda each: wanted[each])
        place, placed = 0.0, []
        for each in here:
            half = (WIDTH if each in rows else LANE) / 2
            place = max(place + half, wanted[each]) if placed else wanted[each]
            placed.append(place)
            place += half + GAP
        shift = _mean([wanted[each] - at for each, at in zip(here, placed, strict=True)])
        middle |= {each: at + shift for each, at in zip(here, placed, strict=True)}
    left = min(middle[box] for box in rows) - WIDTH / 2 - GAP
    points = [[(middle[point] - left, rows[point] if point in rows else point[2]) for point in way] for way in ways]
    return {box: middle[box] - left for box in rows}, points


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def picture(arrows: dict[str, set[str]]) -> str:
    """The SVG, whole in itself, in light and dark colours."""
    rows, shown = levels(arrows), drawn(arrows)
    middle, ways = layout(shown, rows)
    width = max(max(middle.values()) + WIDTH / 2, *(x + LANE for way in ways for x, _ in way)) + GAP
    height = (max(rows.values()) + 1) * ROW + GAP

    def top(row: int) -> float:
        return height - ROW * (row + 1) + (ROW - HEIGHT) / 2

    parts = []
    for way in ways:
        x, y = way[0][0], top(way[0][1]) + HEIGHT
        curve = f"M{x:.0f},{y:.0f}"
        for number, (to_x, row) in enumerate(way[1:], start=1):
            last = number == len(way) - 1
            to_y = top(row) - (3 if last else 0)
            bend = (to_y - y) / 2
            curve += f" C{x:.0f},{y + bend:.0f} {to_x:.0f},{to_y - bend:.0f} {to_x:.0f},{to_y:.0f}"
            if not last:
                curve += f" V{to_y + HEIGHT:.0f}"
            x, y = to_x, to_y + HEIGHT
        parts.append(f'<path class="arrow" d="{curve}" marker-end="url(#head)"/>')
    for box, x in middle.items():
        y = top(rows[box])
        parts.append(
            f'<rect class="box" x="{x - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        )
        parts.append(f'<text class="name" x="{x:.0f}" y="{y + 19:.0f}">{escape(box)}</text>')
        parts.append(f'<text x="{x:.0f}" y="{y + 35:.0f}">{escape(CONTENT.get(box, ""))}</text>')
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    )
    style = (
        ":root{--paper:#fff;--ink:#1d2430;--soft:#5b6677;--box:#f0f4fa;--edge:#2067c0}"
        "@media(prefers-color-scheme:dark){:root{--paper:#14181f;--ink:#e4e8ef;--soft:#9ba6b7;--box:#1b2637;"
        "--edge:#6ea8f7}}text{fill:var(--soft);font-size:11px;text-anchor:middle}"
        ".name{fill:var(--ink);font-size:14px;font-weight:600}.box{fill:var(--box);stroke:var(--edge)}"
        ".arrow{fill:none;stroke:var(--soft);stroke-opacity:.55}.head{fill:var(--soft)}"
    )
    paper = f'<rect width="{width:.0f}" height="{height}" fill="var(--paper)"/>'
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" font-family="system-ui, sans-serif"'
    label = 'role="img" aria-label="Folders of the package as boxes, imports as arrows that point down"'
    inside = f"<style>{style}</style>{head}{paper}{''.join(parts)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>{inside}</svg>\n'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(imports()), encoding="utf-8")
