"""`concept-icd phrases`: makes the phrase file that `--phrases` of tuning takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concept_icd.ontology.coverage import PhraseCoverage

EXAMPLE = "concept-icd phrases --codes codes.txt --tabular Dtab12.zip --index Dindex12.zip --out phrases.json"
INPUTS = ("codes", "tabular", "index", "file", "corpus", "propose")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Codes, sources, the check and the output."""
    parser.add_argument("--codes", type=Path, required=True, help="a file with one code a line")
    parser.add_argument("--tabular", type=Path, nargs="+", default=[], help="NCHS tabular lists: their inclusion terms")
    parser.add_argument("--index", type=Path, nargs="+", default=[], help="NCHS alphabetic indexes: their entries")
    parser.add_argument("--file", type=Path, nargs="+", default=[], help="phrase files (JSON, as in CEC)")
    parser.add_argument("--propose", metavar="MODEL", help="also ask this causal LM (a name or a folder) for phrases")
    parser.add_argument("--count", type=int, default=7, help="phrases to ask for per code (default: 7)")
    parser.add_argument("--most", type=int, default=20, help="phrases kept per code, in the order above (default: 20)")
    parser.add_argument(
        "--corpus", type=Path, help="keep only phrases that these notes say (BM25); prints the coverage"
    )
    parser.add_argument("--bar", type=float, default=0.5, help="share of a phrase's weight that counts as said")
    parser.add_argument("--out", type=Path, required=True, help="the phrase file")
    parser.add_argument("--overwrite", action="store_true", help="replace the phrase file of --out if it is there")


def run(args: argparse.Namespace) -> int:
    """Collects, checks, writes."""
    from concept_icd.errors import InputError
    from concept_icd.ontology.nchs import inclusion_phrases, index_phrases
    from concept_icd.ontology.phrases import merge_phrases, read_phrase_file, write_phrase_file
    from concept_icd.ontology.propose_phrases import propose_phrases
    from concept_icd.ontology.tree import load_ontology
    from concept_icd.outputs import require_new_file
    from concept_icd.readers.label_sets import read_codes

    # Before any work.
    require_new_file(args.out, lambda file: read_phrase_file(file) is not None, overwrite=args.overwrite)
    if not (args.tabular or args.index or args.file or args.propose):
        raise InputError("name a source of phrases: --tabular, --index, --file or --propose")
    ontology = load_ontology("icd9cm")
    codes = list(read_codes(args.codes, must_exist=True))
    # An ancestor's terms hold for the codes below it; chapters and sections are too wide to say anything of a code.
    narrow = [
        node for code in codes for node in ontology.path(code) if ontology.level(node) not in ("chapter", "section")
    ]
    nodes = list(dict.fromkeys(narrow))
    sources = [read_phrase_file(path) for path in args.file]
    sources += [inclusion_phrases(path, nodes) for path in args.tabular]
    sources += [index_phrases(path, nodes) for path in args.index]
    if args.propose:
        from concept_icd.llm.base_model import load_model

        loaded = load_model(args.propose)
        sources.append(propose_phrases(codes, ontology, loaded.model, loaded.tokenizer, count=args.count))
    phrases = {code: found[: args.most] for code, found in merge_phrases(*sources).items() if found}
    if args.corpus:
        phrases = _said(phrases, args.corpus, args.bar)
    write_phrase_file(args.out, phrases)
    print(f"{sum(map(len, phrases.values()))} phrases of {len(phrases)} codes and categories: {args.out}")
    return 0


def _said(phrases: dict[str, list[str]], corpus: Path, bar: float) -> dict[str, list[str]]:
    from concept_icd.corpora import read_corpus
    from concept_icd.ontology.coverage import check_coverage

    texts = list(dict.fromkeys(text for found in phrases.values() for text in found))
    notes = [coded.note for coded in read_corpus(corpus)]
    coverage: dict[str, PhraseCoverage] = {found.phrase: found for found in check_coverage(texts, notes, bar)}
    said = [found for found in coverage.values() if found.found]
    print(f"{len(said)} of {len(texts)} phrases are said in some of {len(notes)} notes; said most often:")
    for found in sorted(said, key=lambda found: -found.notes)[:10]:
        print(f"  {found.notes:>6} notes  {found.phrase}")
    kept = {code: [text for text in found if coverage[text].found] for code, found in phrases.items()}
    return {code: found for code, found in kept.items() if found}
