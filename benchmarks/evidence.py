"""Does a code rest on the evidence that is shown? Faithfulness on CMC 2007 reports that the coder has not seen.

    python benchmarks/evidence.py --work runs/bench-cmc2007 --out benchmarks/results/evidence.json

`--work` is the folder of folds that `benchmarks/cmc2007.py` leaves; those that have a coder of all views (or another,
by `--coder`) are used, and each codes its held-out reports. The two measures are those of DeYoung et al. (2020,
"ERASER: A benchmark to evaluate rationalized NLP models", section 4.2), for each accepted code with probability p(note)
and evidence E:

    comprehensiveness = p(note) - p(note without E)     higher is better
    sufficiency       = p(note) - p(E alone)            lower is better

beside the same for a random span: whole words in a row, of E's length in characters or the nearest, in `--spans` draws.
Figures are means over codes, with 95 % bootstrap intervals over reports; differences are paired. Two ways to show
evidence are compared: the passages as shown (clauses) and the whole sentences that hold them. Passages against a code
are left out alike. They are found by leaving them out, as evidence is: that it changes the answer holds by
construction, and how much more than a random span is the finding. Gold codes are read here alone, to count among the
codes with a passage against them those that coders gave.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from calibration import complete
from cmc2007 import STACKED
from common import arguments, finish, minutes, parser_of, tell

from concept_icd.coder.coder import ConceptCoder
from concept_icd.coder.evidence import BELOW, LIKELY, RISE
from concept_icd.corpora import load_corpus
from concept_icd.metrics.intervals import draw_weights, drawn_means, interval
from concept_icd.progress import track
from concept_icd.records import CodedNote, Note
from concept_icd.text.sentences import Span, sentence_spans

DRAWS = 2000
ALL, WITHOUT, ALONE = "all", "without", "alone"
WAYS = ("clauses", "sentences")


def without(text: str, spans: Sequence[Span]) -> str:
    """The text with the spans left out."""
    cuts = [0, *(place for span in spans for place in span), len(text)]
    return "".join(text[start:end] for start, end in zip(cuts[::2], cuts[1::2], strict=True))


def alone(text: str, spans: Sequence[Span]) -> str:
    """The spans, with nothing else."""
    return " ".join(text[start:end] for start, end in spans)


def whole_sentences(text: str, spans: Sequence[Span]) -> list[Span]:
    """The sentences that hold one of the spans."""
    return [s for s in sentence_spans(text) if any(s[0] <= start and end <= s[1] for start, end in spans)]


def random_span(text: str, length: int, rng: random.Random) -> list[Span]:
    """Whole words in a row, about `length` characters of them."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    first = rng.choice([i for i, (start, _) in enumerate(words) if words[-1][1] - start >= length])
    ends = [end for _, end in words[first:]]
    return [(words[first][0], min(ends, key=lambda end: abs(end - words[first][0] - length)))]


class Answers:
    """What a coder says of versions of a report, each scored once."""

    def __init__(self, coder: ConceptCoder) -> None:
        self.coder = coder
        self.known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read(self, texts: Sequence[str]) -> None:
        """Scores the texts, in place of those before."""
        notes = [Note(str(number), text) for number, text in enumerate(dict.fromkeys(texts)) if text.strip()]
        scores = self.coder.complete(self.coder.scorer.score(notes, self.coder.asked), notes)
        p = self.coder.heads.predict_proba(scores.logits)
        rows = zip(p, self.coder.heads.threshold.accept(p), strict=True)
        self.known = {note.text: row for note, row in zip(notes, rows, strict=True)}

    def of(self, text: str, column: int) -> np.ndarray:
        """Probability, log-odds and decision (0 or 1) on a code; NaN where there is no text."""
        if text not in self.known:
            return np.full(3, np.nan)
        p, accepted = self.known[text][0][column], self.known[text][1][column]
        return np.array([p, np.log(p) - np.log1p(-p), accepted], dtype=np.float64)


def measure(coder: ConceptCoder, coded: Sequence[CodedNote], spans: int, seed: int) -> list[dict[str, Any]]:
    """A row for each code that was looked at: what was shown, and the answers on it and on random spans."""
    answers, rows = Answers(coder), []
    for note in track(coded, len(coded), "evidence", "reports"):
        text, rng = note.note.text, random.Random(f"{seed} {note.note.note_id}")
        result = coder.code(note.note, evidence=True)
        shown: list[tuple[dict[str, Any], list[list[Span]]]] = []
        for code in [*result.accepted, *[code for code in result.codes if not code.accepted][:BELOW]]:
            row = {"note": note.note.note_id, "code": code.code, "gold": code.code in note.codes}
            row |= {"accepted": code.accepted, "passages": len(code.evidence)}
            by_way = {"clauses": list(code.evidence), "sentences": whole_sentences(text, code.evidence)}
            for way, passages in {**by_way, "against": list(code.against)}.items():
                length = sum(end - start for start, end in passages)
                drawn = [random_span(text, length, rng) for _ in range(spans if length else 0)]
                if way == "sentences" and passages == by_way["clauses"]:
                    drawn = shown[-1][1][1:]  # scored already
                shown.append(({**row, "way": way, "share": length / len(text)}, [passages, *drawn]))
        texts = {way(text, own) for _, alternatives in shown for own in alternatives for way in (without, alone)}
        answers.read([text, *sorted(texts)])
        for row, alternatives in shown:
            column = coder.concepts.codes.index(row["code"])
            whole = answers.of(text, column)
            for name, version in ((WITHOUT, without), (ALONE, alone)):
                own, *others = [answers.of(version(text, part), column) for part in alternatives]
                row[name], row[f"{name}_random"] = own, np.mean(others, axis=0) if others else np.full(3, np.nan)
            rows.append({**row, ALL: whole})
    return rows


def figures(values: dict[str, np.ndarray], notes: Sequence[str], seed: int) -> dict[str, Any]:
    """Mean and interval over reports of each value, (codes,); NaN does not count, nor a value that is nothing else."""
    drawn = drawn_means(values, draw_weights(notes, len(notes), DRAWS, seed))
    return {
        name: {"mean": float(np.nanmean(value)), "n": int((~np.isnan(value)).sum()), **interval(drawn[name])}
        for name, value in values.items()
        if not np.isnan(value).all()
    }


def _column(rows: Sequence[dict[str, Any]], name: str, place: int) -> np.ndarray:
    return np.array([row[name][place] for row in rows])


def faithfulness(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Comprehensiveness and sufficiency of some rows, of the shown spans and of random ones; (codes,) each."""
    found: dict[str, np.ndarray] = {"share_of_the_report": np.array([row["share"] for row in rows])}
    for place, unit in enumerate(("", "_log_odds")):
        p = _column(rows, ALL, place)
        for measure_name, version in (("comprehensiveness", WITHOUT), ("sufficiency", ALONE)):
            name = measure_name + unit
            found[name] = p - _column(rows, version, place)
            found[f"{name}_random"] = p - _column(rows, f"{version}_random", place)
            found[f"{name}_minus_random"] = found[name] - found[f"{name}_random"]
    for name, version in (("still_accepted_without", WITHOUT), ("still_accepted_alone", ALONE)):
        found[name], found[f"{name}_random"] = _column(rows, version, 2), _column(rows, f"{version}_random", 2)
    return found


def of_evidence(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Figures of both ways on accepted codes with evidence, and their paired differences."""
    by_way = {way: [row for row in rows if row["way"] == way and row["accepted"]] for way in WAYS}
    shown = np.array([bool(row["passages"]) for row in by_way["clauses"]])
    of_way = {way: faithfulness(own) for way, own in by_way.items()}
    notes = [row["note"] for row in by_way["clauses"]]
    for values in of_way.values():
        for value in values.values():
            value[~shown] = np.nan
    names = [name for name in of_way["clauses"] if not name.endswith("random")]
    difference = {name: of_way["clauses"][name] - of_way["sentences"][name] for name in names}
    return {
        "accepted_codes": len(shown),
        "without_evidence": int((~shown).sum()),
        **{way: figures(values, notes, seed) for way, values in of_way.items()},
        "clauses_minus_sentences": figures(difference, notes, seed),
    }


def of_what_is_against(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """What leaving out a passage against a code adds, and how often coders gave such codes."""
    looked_at = [row for row in rows if row["way"] == "against"]
    own = [row for row in looked_at if row["share"]]
    rise = {f"{name}{end}": -value for end in ("", "_random", "_minus_random")
            for name, value in (("probability", faithfulness(own)[f"comprehensiveness{end}"]),
                                ("log_odds", faithfulness(own)[f"comprehensiveness_log_odds{end}"]))}  # fmt: skip
    below = np.array([not row["accepted"] for row in own])
    becomes = np.where(below, _column(own, WITHOUT, 2), np.nan)
    rise |= {"accepted_once_left_out": becomes}
    gold: dict[str, Any] = {}
    for name, accepted in (("accepted", True), ("below_the_threshold", False)):
        part = [row for row in looked_at if row["accepted"] is accepted]
        groups = {"against": [r for r in part if r["share"]], "nothing_against": [r for r in part if not r["share"]]}
        gold[name] = {key: {"codes": len(g), "given_by_coders": sum(r["gold"] for r in g)} for key, g in groups.items()}
    return {
        "rule": {"rise_log_odds": RISE, "likely": LIKELY, "below": BELOW},
        "codes_looked_at": len(looked_at),
        "codes_with_a_passage_against": len(own),
        "rise_when_left_out": figures(rise, [row["note"] for row in own], seed) if own else None,
        "gold": gold,
    }


def main() -> None:
    parser = parser_of(__doc__, work="runs/bench-cmc2007", spans=3)
    parser.add_argument("--coder", default=STACKED, help="its folder in that of a fold (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="so many held-out reports of each fold, drawn by the seed")
    args = arguments(parser)
    folds = complete(args.work, f"{args.coder}/coder.json")
    if not folds:
        parser.error(f"{args.work} has no fold with {args.coder}: run benchmarks/cmc2007.py --work {args.work} first")
    rows = []
    for fold in folds:
        coder = ConceptCoder.from_pretrained(fold / args.coder)
        held_out = [note for note in load_corpus(fold / "corpus").notes if note.split == "test"]
        random.Random(args.seed).shuffle(held_out)
        rows += measure(coder, held_out[: args.limit], args.spans, args.seed)
    found = {
        "coder": args.coder,
        "folds": [fold.name for fold in folds],
        "reports": len({row["note"] for row in rows}),
        "random_spans": args.spans,
        "evidence": of_evidence(rows, args.seed),
        "against": of_what_is_against(rows, args.seed),
        "minutes": minutes(),
    }
    for way in WAYS:
        tell(way, {name: f"{v['mean']:.3f}" for name, v in found["evidence"][way].items()})
    finish(args, found, RUNS=args.work)


if __name__ == "__main__":
    main()
