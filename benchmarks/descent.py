"""The descent on codiesp9-all: questions to a note, and recall of gold codes, against asking every concept.

    concept-icd score --corpus CORPUS --tuned TUNED --splits dev --out DEV     # every concept, held-out notes
    concept-icd score --corpus CORPUS --tuned TUNED --splits test --out TEST   # every concept
    python benchmarks/descent.py --corpus CORPUS --tuned TUNED --dev DEV --test TEST --out RESULT.json

Everything is simulated on the scores of all concepts, which is exact: a score does not depend on what else is asked. On
some notes the real scorer runs the chosen descent, and must ask the same and answer the same.

Bars, prices, and how many codes the retriever brings are fitted and chosen on dev notes alone; the test notes are
looked at once. Candidates are the codes that were asked; they are ranked by the score of their own concept, so that
recall@50 is the share of gold codes (that the set holds) among a note's first 50 candidates. No head takes part in it:
heads rank frequent codes first whether they were asked or not, which `heads` shows. Intervals: bootstrap over notes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, finish, heads_of, parser_of, tell, timed

from concept_icd import metrics
from concept_icd.corpora import load_corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.fitting import HeadOptions
from concept_icd.heads.selection_fitting import fit_selection, gold_rows
from concept_icd.metrics.intervals import Scale, draw_weights, interval
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.selection import SelectionRule, TopDownSelection, ask_stored
from concept_icd.scoring.specs import ADAPTER, PROMPT
from concept_icd.scoring.store import CONCEPTS, load_scores

SHARES = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
#: Of all concepts.
BUDGETS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2)
RETRIEVED = (10, 20, 50, 100, 200)
#: Codes of the retriever that the descent with a budget of a tenth may begin with.
UNION = (10, 20, 30, 40, 60, 80)
TENTH, TOP, RESAMPLES = 0.1, 50, 2000
#: Notes that the real scorer reads, too.
CHECKED = 5


class Part:
    """The notes of a split with scores of all concepts and gold codes."""

    def __init__(self, folder: Path, corpus: Any, concepts: ConceptSet) -> None:
        scores = load_scores(folder)
        by_id = {coded.note.note_id: coded.note for coded in corpus.notes}
        self.notes: list[Note] = [by_id[note_id] for note_id in scores.note_ids]
        self.logits = scores.logits
        self.gold, self.patients = gold_matrix(scores.note_ids, corpus.notes, concepts.codes)
        self.rows = gold_rows(self.gold, concepts)
        self.codes = np.flatnonzero([concept.level == "code" for concept in concepts.concepts])

    def hits(self, asked: np.ndarray) -> np.ndarray:
        """(notes,): gold codes among the first 50 candidates, ranked by their own score; ties by their order."""
        own = np.where(asked[:, self.codes], self.logits[:, self.codes], -np.inf)
        first = np.argsort(-own, axis=1, kind="stable")[:, :TOP]
        found = np.take_along_axis(self.rows[:, self.codes] & asked[:, self.codes], first, axis=1)
        return np.asarray(found.sum(axis=1))

    def ask(self, concepts: ConceptSet, rule: SelectionRule) -> np.ndarray:
        return ask_stored(TopDownSelection.over(concepts, load_ontology(), rule), self.notes, self.logits)

    def figures(self, asked: np.ndarray, seed: int) -> dict[str, Any]:
        hits, everything = self.hits(asked), self.hits(np.ones_like(asked))
        gold, reached = self.rows.sum(axis=1), (asked & self.rows).sum(axis=1)
        weights = draw_weights(None, len(gold), RESAMPLES, seed)
        recalls, ratios = (weights @ hits / (weights @ of) for of in (gold, everything))
        questions = asked.sum(axis=1)
        return {
            "questions": float(questions.mean()),
            "questions_most": int(questions.max()),
            "share_of_questions": float(questions.mean()) / asked.shape[1],
            "reached_gold": float(reached.sum() / gold.sum()),
            "recall_at_50": float(recalls[0]),
            "recall_at_50_interval": _interval(recalls, "share"),
            "of_exhaustive": float(ratios[0]),
            "of_exhaustive_interval": _interval(ratios, "count"),
        }


def _interval(samples: np.ndarray, scale: Scale) -> list[float]:
    width = interval(samples, scale)
    return [width["low"], width["high"]]


def _fit(part: Part, concepts: ConceptSet, rows: np.ndarray, options: dict[str, Any]) -> SelectionRule:
    notes = [part.notes[row] for row in rows]
    return fit_selection(part.logits[rows], part.gold[rows], concepts, load_ontology(), notes=notes, **options)


def measure(name: str, options: dict[str, Any], dev: Part, test: Part, concepts: ConceptSet, seed: int) -> Any:
    """A rule's figures on dev notes, cross-validated in 5 folds, and on test notes, fitted on all dev notes."""
    fold, asked = group_folds(dev.patients, 5, seed), np.zeros(dev.logits.shape, dtype=bool)
    for number in np.unique(fold):
        plan = TopDownSelection.over(
            concepts, load_ontology(), _fit(dev, concepts, np.flatnonzero(fold != number), options)
        )
        out = np.flatnonzero(fold == number)
        asked[out] = ask_stored(plan, [dev.notes[row] for row in out], dev.logits[out])
    seconds, rule = timed(_fit, dev, concepts, np.arange(len(dev.notes)), options)
    found = test.ask(concepts, rule)
    row = {"options": options, "rule": {"bars": dict(rule.bars), "price": rule.price}, "fit_seconds": round(seconds, 1)}
    row |= {"dev": dev.figures(asked, seed), "test": test.figures(found, seed)}
    on_dev, on_test = row["dev"], row["test"]
    told = f"{on_test['questions']} questions, recall@50 {on_test['recall_at_50']} (dev {on_dev['recall_at_50']})"
    tell(f"{name}: {told}, {on_test['of_exhaustive']:.1%} of exhaustive")
    return row


def check_with_scorer(tuned: Path, rule: SelectionRule, test: Part, concepts: ConceptSet) -> dict[str, Any]:
    """The real scorer on some test notes: does it ask the same, and answer the same?"""
    scorer = PackedScorer.from_pretrained("tiny", tuned / ADAPTER, tuned / PROMPT)
    plan = TopDownSelection.over(concepts, load_ontology(), rule)
    rows = {note.note_id: row for row, note in enumerate(test.notes[:CHECKED])}
    stored = ask_stored(plan, test.notes[:CHECKED], test.logits[:CHECKED])
    gaps, other, tokens = [], 0, []
    for scores in scorer.iter_scores(test.notes[:CHECKED], concepts.concepts, plan):
        row = rows[scores.note_id]
        both = np.intersect1d(scores.asked, np.flatnonzero(stored[row]))
        other += len(scores.asked) + int(stored[row].sum()) - 2 * len(both)
        gaps.append(np.abs(scores.logits[np.isin(scores.asked, both)] - test.logits[row, both]).max())
        tokens.append(scores.computed)
    return {
        "notes": CHECKED,
        "largest_gap": float(max(gaps)),
        "questions_asked_by_one_alone": other,
        "tokens_computed": float(np.mean(tokens)),
    }


def measure_heads(rule: SelectionRule, dev: Part, test: Part, concepts: ConceptSet) -> list[dict[str, Any]]:
    """Heads fitted on dev notes, of all scores or of descended ones, on test notes of either kind.

    Here codes that were not asked are ranked too, by the score that stands for them and their frequency.
    """
    fill = TopDownSelection.over(concepts, load_ontology(), rule).fill
    kinds = {}
    for name in ("all", "descended"):
        kinds[name] = [part.logits if name == "all" else np.where(part.ask(concepts, rule), part.logits, fill)
                       for part in (dev, test)]  # fmt: skip
    found = []
    for fitted_on, used_on in (("all", "all"), ("all", "descended"), ("descended", "descended")):
        options = HeadOptions(features="path", order="none")
        heads = heads_of(kinds[fitted_on][0], dev.gold, concepts, groups=dev.patients, options=options)
        probabilities = heads.predict_proba(kinds[used_on][1])
        first = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        decisions = metrics.decision_metrics(test.gold, heads.threshold.accept(probabilities))
        recall = float(np.take_along_axis(test.gold, first, axis=1).sum() / test.gold.sum())
        figures = {name: decisions[name] for name in ("micro_f1", "macro_f1", "macro_f1_caml")}
        found.append({"fitted_on": fitted_on, "used_on": used_on, "recall_at_50": recall} | figures)
    return found


def main() -> None:
    parser = parser_of(__doc__)
    for name in ("corpus", "tuned", "dev", "test"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = arguments(parser)
    corpus, concepts = load_corpus(args.corpus), ConceptSet.load(args.dev / CONCEPTS)
    dev, test = Part(args.dev, corpus, concepts), Part(args.test, corpus, concepts)

    def budget(share: float, **options: Any) -> dict[str, Any]:
        return {"budget": int(share * len(concepts)), **options}

    unions = [(TENTH, count) for count in UNION] + [(share, count) for share in BUDGETS[:3] for count in (10, 20, 40)]
    plans: dict[str, dict[str, Any]] = {
        **{f"bars, keep {share}": {"keep": share} for share in SHARES},
        **{f"budget {share:.1%}": budget(share) for share in BUDGETS},
        **{f"retriever alone, {n} codes": budget(TENTH, retrieve=n, descend=False) for n in RETRIEVED},
        **{f"budget {share:.1%} and {n} codes of the retriever": budget(share, retrieve=n) for share, n in unions},
    }
    rows = {
        name: measure(name, {"keep": None, **options}, dev, test, concepts, args.seed)
        for name, options in plans.items()
    }
    at_tenth = [name for name in rows if name.startswith(f"budget {TENTH:.1%}")]
    chosen = max(at_tenth, key=lambda name: rows[name]["dev"]["recall_at_50"])
    rule = _fit(dev, concepts, np.arange(len(dev.notes)), rows[chosen]["options"])
    result = {
        "task": corpus.manifest.get("task"),
        "codes": len(concepts.codes),
        "concepts": len(concepts),
        "notes": {"dev": len(dev.notes), "test": len(test.notes)},
        "gold_codes": {"dev": int(dev.rows.sum()), "test": int(test.rows.sum())},
        "exhaustive": {
            "dev": dev.figures(np.ones(dev.logits.shape, dtype=bool), args.seed),
            "test": test.figures(np.ones(test.logits.shape, dtype=bool), args.seed),
        },
        "chosen_on_dev": chosen,
        "rows": rows,
        "heads": measure_heads(rule, dev, test, concepts),
        "real_scorer": check_with_scorer(args.tuned, rule, test, concepts),
    }
    finish(args, result, CORPUS=args.corpus, TUNED=args.tuned, DEV=args.dev, TEST=args.test)


if __name__ == "__main__":
    main()
