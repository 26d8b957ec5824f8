"""Writes the tables of ICD-10 in `ontology/icd10/`, and the maps from and to ICD-9-CM, from the official files.

    python scripts/build_icd10.py --data-dir DATA            # writes diagnoses.tsv.gz and procedures.tsv.gz
    python scripts/build_icd10.py --data-dir DATA --check    # exit code 1 when the tables in the checkout differ

`DATA` holds `icd10cm/` (tabular list of April 2026, codes of all editions from their order files), `icd10pcs/` (tables
of 2026, codes of all editions) and `icd9_maps/` (the four equivalence maps). Running it again gives the same bytes.
Sources and terms: ontology/README.md.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

FOLDER = Path(__file__).resolve().parent.parent / "ontology" / "icd10"
COLUMNS = ("code", "parent", "level", "listed", "billable", "title")
FIRST, LAST = 2016, 2026
PCS_LEVELS = ("section", "body system", "operation", "body part", "approach", "device", "qualifier")

#: First days of codes that came within a fiscal year (NCHS conversion table FY2025). Of those of April 2023 it gives
#: the number, 42, and the subtrees; the rest of the codes that came to them in FY2023 came in October 2022.
MID_YEAR = {
    date(2020, 4, 1): "U07.0 U07.1",
    date(2021, 1, 1): "J12.82 M35.81 M35.89 Z11.52 Z20.822 Z86.16",
    date(2022, 4, 1): "Z28.310 Z28.311 Z28.39",
    date(2023, 4, 1): "T74.A1XA T74.A1XD T74.A1XS T74.A2XA T74.A2XD T74.A2XS T76.A1XA T76.A1XD T76.A1XS T76.A2XA "
    "T76.A2XD T76.A2XS Y07.010 Y07.011 Y07.020 Y07.021 Y07.030 Y07.031 Y07.040 Y07.041 Y07.050 Y07.051 Y07.44 Y07.45 "
    "Y07.46 Y07.47 Y07.54 Z55.6 Z58.81 Z58.89 Z59.10 Z59.11 Z59.12 Z59.19 Z62.814 Z62.815 Z91.141 Z91.148 Z91.151 "
    "Z91.158 Z91.413 Z91.414",
}


MAPS = ("icd9toicd10cmgem", "icd10cmtoicd9gem", "icd9toicd10pcsgem", "icd10pcstoicd9gem")


@dataclass
class Row:
    """`listed` is a range of fiscal years; an end of `billable` is a fiscal year, or a day within one."""

    code: str
    parent: str
    level: str
    listed: tuple[int, int]
    billable: tuple[str, str] | None
    title: str

    def line(self) -> str:
        billable = "/".join(self.billable) if self.billable else ""
        return "\t".join((self.code, self.parent, self.level, "/".join(map(str, self.listed)), billable, self.title))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder with icd10cm/ and icd10pcs/")
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the tables are up to date")
    args = parser.parse_args()
    tables = {
        "diagnoses.tsv.gz": diagnoses(args.data_dir / "icd10cm"),
        "procedures.tsv.gz": procedures(args.data_dir / "icd10pcs"),
    }
    stale = []
    for name, rows in tables.items():
        text = "\n".join(["\t".join(COLUMNS), *(row.line() for row in rows)]) + "\n"
        if args.check:
            with gzip.open(FOLDER / name, "rt", encoding="utf-8", newline="") as file:
                stale += [name] if file.read() != text else []
            continue
        FOLDER.mkdir(exist_ok=True)
        # mtime=0: the same table gives the same bytes.
        (FOLDER / name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{name}: {len(rows)} nodes, {sum(row.billable is not None for row in rows)} billable at some time")
    for name in MAPS:
        text = equivalence_map(args.data_dir / "icd9_maps" / f"{name}.csv.gz")
        packed = FOLDER.parent / "maps" / f"{name}.csv.gz"
        if args.check:
            stale += [packed.name] if gzip.decompress(packed.read_bytes()).decode() != text else []
            continue
        packed.parent.mkdir(exist_ok=True)
        packed.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{packed.name}: {text.count(chr(10)) - 1} rows")
    if args.check:
        print("differs: " + ", ".join(stale) if stale else "up to date")
    return bool(stale)


# ICD-10-CM ------------------------------------------------------------------------------------------------------------


def diagnoses(folder: Path) -> list[Row]:
    """Chapters, sections and categories of the tabular list; codes of all editions below the longest shorter one."""
    rows = {row.code: row for row in chapters_and_sections(folder / "icd10cm_tabular_april_2026.xml.gz")}
    category_parent = {code: row.parent for code, row in rows.items() if row.level == "category"}
    titles = {code: row.title for code, row in rows.items() if "-" not in code}
    rows = {code: row for code, row in rows.items() if "-" in code}
    known = {code: entry for code, *entry in read_codes(folder / "dx_codes.tsv.gz")}
    for code, (listed, billable, title) in known.items():
        parent = category_parent.get(code) if len(code) == 3 else longest_shorter(code, known)
        if parent is None:  # a category that the list of 2026 no longer has
            parent = min((row.code for row in rows.values() if within(code, row.code)), key=span)
        level = "category" if len(code) == 3 else f"{len(code) - 1} characters"
        rows[code] = Row(code, parent, level, listed, billable, titles.get(code, title))
    honour_mid_year(rows)
    return in_tree_order(rows)


def chapters_and_sections(path: Path) -> Iterator[Row]:
    """Rows of the tabular list; a section within the range of one that holds no category itself hangs below that.

    The list prints such sections flat.
    """
    with gzip.open(path) as file:
        root = ElementTree.parse(file).getroot()
    for chapter in root.iter("chapter"):
        title, _, code = words(chapter.findtext("desc")).rpartition(" (")
        code = code.rstrip(")")
        yield Row(code, "", "chapter", (FIRST, LAST), None, title)
        found = {}
        for section in chapter.iter("section"):
            first, _, last = section.attrib["id"].partition("-")
            found[f"{first}-{last or first}"] = section
        wide = [name for name, section in found.items() if section.find("diag") is None]
        for name, section in found.items():
            around = [other for other in wide if other != name and all(within(end, other) for end in name.split("-"))]
            title = words(section.findtext("desc")).rpartition(" (")[0]
            yield Row(name, min(around, key=span, default=code), "section", (FIRST, LAST), None, title)
            for category in section.findall("diag"):
                for node in category.iter("diag"):
                    level = "category" if node is category else ""
                    code_of_node = words(node.findtext("name"))
                    yield Row(code_of_node, name, level, (FIRST, LAST), None, words(node.findtext("desc")))


def longest_shorter(code: str, known: dict[str, list]) -> str:
    """The longest beginning of the code that is listed: a placeholder X is no level of its own."""
    shorter = code[:-1]
    while shorter.rstrip(".") not in known:
        shorter = shorter[:-1]
    return shorter.rstrip(".")


def within(category: str, first_last: str) -> bool:
    first, _, last = first_last.partition("-")
    return order(first) <= order(category) <= order(last)


def span(first_last: str) -> tuple[int, int]:
    """How much of the alphabet a range spans, letters first."""
    first, _, last = first_last.partition("-")
    return ord(last[0]) - ord(first[0]), order(last)[1] - order(first)[1]


def order(category: str) -> tuple[str, int, str]:
    """C7A stands behind C79, and QA0 behind Q99."""
    ten, one = (int(character, 36) for character in category[1:])
    return category[0], 10 * ten + min(one, 9), category[2]


def honour_mid_year(rows: dict[str, Row]) -> None:
    """First days within a year; what such a code divides was billable until the day before."""
    for day, codes in MID_YEAR.items():
        for code in codes.split():
            row, year = rows[code], day.year + (day.month >= 10)
            row.listed = (min(row.listed[0], year), row.listed[1])
            row.billable = (day.isoformat(), row.billable[1])
            above = rows[row.parent]
            while "-" not in above.code:
                above.listed = (min(above.listed[0], year), above.listed[1])
                if above.billable and above.billable[1] == str(year - 1):
                    above.billable = (above.billable[0], (day - timedelta(days=1)).isoformat())
                above = rows[above.parent]


# ICD-10-PCS -----------------------------------------------------------------------------------------------------------


def procedures(folder: Path) -> list[Row]:
    """Every beginning of a code of any edition, with the label of its last axis; whole codes with their long titles."""
    known = {
        code: (listed, billable, title) for code, listed, billable, title in read_codes(folder / "px_codes.tsv.gz")
    }
    whole = sorted(code for code in known if len(code) == 7)
    below: dict[str, list[str]] = defaultdict(list)
    for code in whole:
        for length in range(1, 7):
            below[code[:length]].append(code)
    labels, by_character = read_tables(folder / "icd10pcs_tables_2026.xml.gz")
    rows = {}
    for prefix, codes in below.items():
        listed = min(known[code][0][0] for code in codes), max(known[code][0][1] for code in codes)
        label = label_of(prefix, labels, by_character) or shared_words(known[code][2] for code in codes)
        rows[prefix] = Row(prefix, prefix[:-1], PCS_LEVELS[len(prefix) - 1], listed, None, label)
    for code in whole:
        listed, billable, title = known[code]
        rows[code] = Row(code, code[:-1], "qualifier", listed, billable, title)
    return [respelled(rows[code]) for code in sorted(rows)]


def respelled(row: Row) -> Row:
    """A three-character beginning that could be a category of ICD-10-CM (B01) is written with a hyphen (B01-)."""
    row.code, row.parent = table_code(row.code), table_code(row.parent)
    return row


def table_code(prefix: str) -> str:
    return f"{prefix}-" if re.fullmatch(r"[A-Z][0-9A][0-9A-Z]", prefix) else prefix


def read_tables(path: Path) -> tuple[dict[str, list[str]], dict[tuple[str, int, str], set[str]]]:
    """Beginning -> the labels of its last axis in 2026; and (table, axis, character) -> its labels there."""
    with gzip.open(path) as file:
        root = ElementTree.parse(file).getroot()
    labels: dict[str, list[str]] = defaultdict(list)
    by_character: dict[tuple[str, int, str], set[str]] = defaultdict(set)

    def add(starts: list[str], axis: ElementTree.Element) -> list[str]:
        longer = []
        for label in axis.findall("label"):
            character, text = label.attrib["code"], words(label.text)
            for start in starts:
                code = start + character
                longer.append(code)
                if text not in labels[code]:
                    labels[code].append(text)
                by_character[code[:3], len(code), character].add(text)
        return longer

    for table in root.iter("pcsTable"):
        starts = [""]
        for axis in table.findall("axis"):
            starts = add(starts, axis)
        for row in table.findall("pcsRow"):
            codes = starts
            for axis in row.findall("axis"):
                codes = add(codes, axis)
    return labels, by_character


def label_of(prefix: str, labels: dict[str, list[str]], by_character: dict[tuple[str, int, str], set[str]]) -> str:
    """Of the tables of 2026: of this very beginning, else the one meaning of its last character in its table."""
    if prefix in labels:
        return " | ".join(labels[prefix])
    meanings = by_character.get((prefix[:3], len(prefix), prefix[-1]), set())
    return next(iter(meanings)) if len(meanings) == 1 else ""


def shared_words(titles: Iterator[str]) -> str:
    """What the long titles of all codes below have in common, from their first word on; the first title at worst."""
    split = [title.replace(",", " ,").split() for title in titles]
    same = takewhile(lambda words: len(set(words)) == 1, zip(*split, strict=False))
    common = " ".join(words[0] for words in same).replace(" ,", ",").strip(", ")
    for word in ("with", "of", "to", "from", "using", "and", "into", "in", "for", "by"):
        common = common.removesuffix(f" {word}").strip(", ")
    return common or " ".join(split[0]).replace(" ,", ",")


# Equivalence maps -----------------------------------------------------------------------------------------------------


def equivalence_map(path: Path) -> str:
    """The table without its column `flags`, which only repeats the five behind it, and with lines that end in LF."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    drop = rows[0].index("flags")
    return "".join(",".join(cell for column, cell in enumerate(row) if column != drop) + "\n" for row in rows)


# Both -----------------------------------------------------------------------------------------------------------------


def read_codes(path: Path) -> Iterator[tuple[str, tuple[int, int], tuple[str, str] | None, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            first, _, last = row["billable_fys"].partition("-")
            billable = (first, last or first) if first else None
            yield row["code"], (int(row["first_fy"]), int(row["last_fy"])), billable, words(row["title"])


def words(text: str | None) -> str:
    return " ".join((text or "").split())


def in_tree_order(rows: dict[str, Row]) -> list[Row]:
    """Parents before their children, siblings sorted by code."""
    children: dict[str, list[str]] = defaultdict(list)
    for code in sorted(rows):
        children[rows[code].parent].append(code)
    ordered, stack = [], children[""][::-1]
    while stack:
        code = stack.pop()
        ordered.append(rows[code])
        stack += children[code][::-1]
    if len(ordered) != len(rows):
        raise SystemExit("a code hangs below nothing")
    return ordered


if __name__ == "__main__":
    sys.exit(main())
