"""The steps of `ConceptCoder.fit`: gold codes, stacked experts, the billing order, the heads.

Of all that makes or uses a coder this alone sees gold codes, and only with scores of notes that the scorer was not
tuned on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from concept_icd.corpora.gold import gold_matrix, gold_places
from concept_icd.errors import InputError
from concept_icd.experts.expert import Expert, ExpertRecipe, join, means, with_experts
from concept_icd.heads.fitting import HeadOptions, Heads, fit_heads, folds_of
from concept_icd.heads.lexicon import Lexicon
from concept_icd.heads.lexicon_fitting import learn_features, naming
from concept_icd.heads.ranker_fitting import GoldOrder, notes_to_learn_from
from concept_icd.heads.ranking_features import PairTable
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, OneLine
from concept_icd.scoring.scorer import ConceptScores


@dataclass(frozen=True, eq=False, repr=False)
class Training(OneLine):
    """Scored notes with their gold codes; a note is the same row in every part.

    Attributes:
        gold: bool (notes, codes). patients: of each note. fold: of each note in every cross-validation, int (notes,).
    """

    scores: ConceptScores
    concepts: ConceptSet
    options: HeadOptions
    notes: list[CodedNote]
    gold: np.ndarray
    patients: list[str]
    fold: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Order(OneLine):
    """What the ranker learns from: the billing orders, and what the texts of the notes say, where they say something.

    Attributes:
        text: features of the notes, each by a lexicon that did not see its fold. lexicon: for new notes.
    """

    gold: GoldOrder
    text: PairTable | None = None
    lexicon: Lexicon | None = None


def with_gold(
    scores: ConceptScores,
    notes: Iterable[CodedNote],
    concepts: ConceptSet,
    options: HeadOptions,
    allow_in_sample: bool = False,
) -> Training:
    """Scores beside the gold codes of their notes; see `ConceptCoder.fit` for what is raised."""
    if scores.concept_hash != concepts.hash:
        raise InputError("the scores are of another concept set than this one: score the notes again")
    if not scores.out_of_fold and not allow_in_sample:
        raise InputError(
            "these scores are not out-of-fold, and heads fitted on notes that the scorer was tuned on promise too "
            "much: score with cross-fitted adapters, or allow in-sample scores, which every result will then say"
        )
    by_id = {coded.note.note_id: coded for coded in notes}
    gold, patients = gold_matrix(scores.note_ids, by_id.values(), concepts.codes)
    own = [by_id[note_id] for note_id in scores.note_ids]
    return Training(scores, concepts, options, own, gold, patients, folds_of(patients, options))


def stack(training: Training, recipes: Sequence[ExpertRecipe]) -> tuple[Training, tuple[Expert, ...]]:
    """Fits the experts, and puts what each says of the notes of its held-out folds beside the scores."""
    if not recipes:
        return training, ()
    t = training
    fitted = [recipe.fit(t.notes, t.gold, t.concepts, t.fold, t.options.seed) for recipe in recipes]
    experts, held_out = tuple(expert for expert, _ in fitted), [columns for _, columns in fitted]
    concepts = with_experts(t.concepts, experts)
    return replace(t, concepts=concepts, scores=join(t.scores, concepts, held_out, means(held_out))), experts


def learn_order(training: Training, classification: str) -> Order | None:
    """What the ranker learns from; None where the options or the notes say that codes are ranked by probability."""
    notes, concepts, options = training.notes, training.concepts, training.options
    in_order = all(coded.in_billing_order for coded in notes)
    if options.order != "billing" and not (options.order == "auto" and in_order):
        return None
    ontology = load_ontology(classification)
    procedure = [ontology.kind(concepts.meaning(code)) == "procedure" for code in concepts.codes]
    gold = GoldOrder(*gold_places(training.scores.note_ids, notes, concepts.codes), np.array(procedure))
    texts = [coded.note.normalized.text for coded in notes]
    if not any(texts):
        return Order(gold)
    rows = notes_to_learn_from(gold.places, options.seed)
    own, fold = [texts[row] for row in rows], training.fold[rows]
    lexicon, found = learn_features(own, gold.places[rows], naming(concepts), gold.procedure, fold)
    return Order(gold, found.at_rows(rows, len(notes)), lexicon)


def fit_all_heads(training: Training, order: Order | None) -> Heads:
    """Every head of the coder, on the scores of the concepts and the experts."""
    concepts = training.concepts
    return fit_heads(
        training.scores.logits,
        training.gold,
        concepts.cover,
        [concept.level for concept in concepts.concepts],
        concepts.codes,
        groups=training.patients,
        order=None if order is None else order.gold,
        text=None if order is None else order.text,
        options=training.options,
    )
