"""`concept-icd ontology`: look up a code, find codes by words, or carry a code to the other classification."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from concept_icd.cli.options import positive

if TYPE_CHECKING:
    from concept_icd.ontology.node import Node
    from concept_icd.ontology.tree import Ontology

EXAMPLE = (
    'concept-icd ontology show 428.21\n  concept-icd ontology search "heart failure" --limit 5\n'
    "  concept-icd ontology show E11.65 --classification icd10\n  concept-icd ontology map 428.21"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `show CODE`, `search WORDS` and `map CODE`."""
    verbs = parser.add_subparsers(dest="ontology_verb", metavar="show|search|map", required=True)
    show = verbs.add_parser("show", help="print the path of a code, chapter first, and the codes below it")
    show.add_argument("code", help='with its dot ("428.21", "E11.65", "0DTJ4ZZ"), or without it and --kind ("42821")')
    search = verbs.add_parser("search", help="print the codes whose title has these words, or that begin so")
    search.add_argument("words", nargs="+", help='e.g. heart failure, or the beginning of a code ("428.")')
    search.add_argument("--limit", type=positive, default=10, help="how many to print (default: 10)")
    carry = verbs.add_parser("map", help="print the codes of the other classification that are equivalent")
    carry.add_argument("code", help='"428.21" (to ICD-10) or "I50.21" (to ICD-9-CM)')
    for verb in (show, carry):
        verb.add_argument("--kind", choices=("diagnosis", "procedure"), help="how to read a code without a dot")
    for verb in (show, search, carry):
        default = "icd9cm" if verb is search else "the first that has the code"
        verb.add_argument("--classification", help=f"icd9cm or icd10 (default: {default})")
        verb.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Prints what was asked for; an unknown code is an InputError that names the nearest one."""
    from concept_icd.ontology.tree import load_ontology

    if args.ontology_verb == "search":
        return _search(load_ontology(args.classification or "icd9cm"), args)
    ontology, code = _read(args)
    return _show(ontology, code, args) if args.ontology_verb == "show" else _map(ontology, code, args)


def _read(args: argparse.Namespace) -> tuple[Ontology, str]:
    """The code in the classification that was named, or in the first that has it.

    Raises:
        InputError: none has it: what the first says in which it is well spelt; where it is in none, what the last says
            of a text with letters and the first of one without.
    """
    from concept_icd.errors import InputError
    from concept_icd.ontology.code_shapes import SHAPES
    from concept_icd.ontology.tree import load_ontology

    unknown: list[InputError] = []
    misspelt: list[InputError] = []
    for name in (args.classification,) if args.classification else SHAPES:
        ontology, code = load_ontology(name), None
        try:
            code = ontology.parse(args.code, args.kind)
            return ontology, ontology.node(code).code
        except InputError as error:
            (unknown if code else misspelt).append(error)
    raise (unknown or misspelt)[0 if unknown or not any(map(str.isalpha, args.code)) else -1]


def _show(ontology: Ontology, code: str, args: argparse.Namespace) -> int:
    nodes = [ontology.node(step) for step in ontology.path(code)]
    children = [ontology.node(child) for child in ontology.children(code)]
    if args.json:
        related = {"path": nodes, "children": children}
        record = nodes[-1].to_dict() | {name: [node.to_dict() for node in found] for name, found in related.items()}
        print(json.dumps(record, ensure_ascii=False, indent=2))
        return 0
    for depth, node in enumerate(nodes):
        below = len(ontology.children(node.code))
        facts = [node.level, *_years(node, ontology.editions), *([f"{below} below"] if below else [])]
        print(f"{'  ' * depth}{node.code}  {node.title}  ({', '.join(facts)})")
    for child in children:
        print(f"{'  ' * len(nodes)}- {child.code}  {child.title}")
    return 0


def _years(node: Node, editions: tuple[int, int] | None) -> list[str]:
    """Whether the node is billable, and when, where the classification has years."""
    from concept_icd.ontology.fiscal_years import in_words

    if node.listed is None:
        return ["billable"] if node.billable else []
    if node.billable_days:
        return [f"billable {in_words(node.billable_days)}"]
    return [] if node.listed == editions else [f"listed in the fiscal years {node.listed[0]} to {node.listed[1]}"]


def _search(ontology: Ontology, args: argparse.Namespace) -> int:
    words = " ".join(args.words)
    found = ontology.search(words, limit=args.limit)
    notice = ontology.search_notice(words)
    if notice and (found or args.json):
        print(notice, file=sys.stderr)
    if args.json:
        records = [node.to_dict() | {"score": round(score, 4)} for node, score in found]
        print(json.dumps(records, ensure_ascii=False, indent=2))
        return 0
    for node, _ in found:
        print(f"{node.code:<9} {node.kind:<10} {'billable' if node.billable else node.level:<12} {node.title}")
    if not found:
        print(f"no title of {ontology.name} has the words {words!r}" + (f": {notice}" if notice else ""))
    return 0


def _map(ontology: Ontology, code: str, args: argparse.Namespace) -> int:
    from concept_icd.ontology.maps import equivalents

    found = equivalents(code, ontology.name)
    if args.json:
        record = {"code": code, "classification": ontology.name, "equivalents": [to.to_dict() for to in found]}
        print(json.dumps(record, ensure_ascii=False, indent=2))
        return 0
    print(f"{code}  {ontology.title(code)}")
    for to in found:
        if to.code is None:
            print("  no equivalent, says the map")
            continue
        place = f", combination: scenario {to.scenario}, choice list {to.choice_list}" if to.combination else ""
        print(f"  {to.code}  {to.title}  ({'approximate' if to.approximate else 'equal'}{place})")
    return 0
