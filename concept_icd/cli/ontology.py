"""`concept-icd ontology`: look up a code, or find codes by words."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from concept_icd.cli.options import positive

if TYPE_CHECKING:
    from concept_icd.ontology.tree import Ontology

EXAMPLE = 'concept-icd ontology show 428.21\n  concept-icd ontology search "heart failure" --limit 5'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `show CODE` and `search WORDS`."""
    verbs = parser.add_subparsers(dest="ontology_verb", metavar="show|search", required=True)
    show = verbs.add_parser("show", help="print the path of a code, chapter first, and the codes below it")
    show.add_argument("code", help='dotted ("428.21"), or undotted with --kind ("42821")')
    show.add_argument("--kind", choices=("diagnosis", "procedure"), help="how to read a code without a dot")
    search = verbs.add_parser("search", help="print the codes whose title has these words, or that begin so")
    search.add_argument("words", nargs="+", help='e.g. heart failure, or the beginning of a code ("428.")')
    search.add_argument("--limit", type=positive, default=10, help="how many to print (default: 10)")
    for verb in (show, search):
        verb.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Prints what was asked for; an unknown code is an InputError that names the nearest one."""
    from concept_icd.ontology.tree import load_ontology

    ontology = load_ontology()
    return _show(ontology, args) if args.ontology_verb == "show" else _search(ontology, args)


def _show(ontology: Ontology, args: argparse.Namespace) -> int:
    code = ontology.node(ontology.parse(args.code, args.kind)).code
    nodes = [ontology.node(step) for step in ontology.path(code)]
    children = [ontology.node(child) for child in ontology.children(code)]
    if args.json:
        related = {"path": nodes, "children": children}
        record = nodes[-1].to_dict() | {name: [node.to_dict() for node in found] for name, found in related.items()}
        print(json.dumps(record, ensure_ascii=False, indent=2))
        return 0
    for depth, node in enumerate(nodes):
        below = len(ontology.children(node.code))
        facts = [node.level, *(["billable"] if node.billable else []), *([f"{below} below"] if below else [])]
        print(f"{'  ' * depth}{node.code}  {node.title}  ({', '.join(facts)})")
    for child in children:
        print(f"{'  ' * len(nodes)}- {child.code}  {child.title}")
    return 0


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
