"""The coder: a fitted pipeline from a note to ranked codes.

It knows the scorer and the heads. It sees gold codes in `fit` alone (`concept_icd.coder.fitting`). How it is stored
stands in `concept_icd.coder.folder`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd import __version__
from concept_icd.coder.evidence import with_evidence
from concept_icd.coder.fitting import fit_all_heads, learn_order, stack, with_gold
from concept_icd.coder.interface import BATCH, CallableCoder, checked
from concept_icd.coder.results import coding_results, describe_codes
from concept_icd.errors import InputError
from concept_icd.experts.expert import ExpertRecipe, join, without_experts
from concept_icd.heads.fitting import HeadOptions
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.reference import ModelReference
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import LONGEST, CodedNote, CodingResult, Note, beginning, require_notes
from concept_icd.scoring.scorer import ConceptScores, NoteFailure
from concept_icd.scoring.selection import SelectionRule, TopDownSelection, planned_scores
from concept_icd.scoring.specs import checked_settings, precision_of


class ScorerMismatch(UserWarning):
    """A coder scores new notes with another scorer than the one that its heads were fitted on."""


@dataclass(frozen=True, eq=False, repr=False)
class ConceptCoder(CallableCoder):
    """A fitted coder, which ranks the codes of its set for new notes.

        >>> coder = ConceptCoder.from_pretrained("radiology")
        >>> result = coder("Cough and fever. Right lower lobe pneumonia.")
        >>> [code.code for code in result.accepted]
        ['486']

    Attributes:
        used_scorer: what new notes are scored with where it is not what the heads were fitted on; see `with_scorer`.
    """

    used_scorer: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        scores: ConceptScores,
        notes: Iterable[CodedNote],
        concepts: ConceptSet,
        *,
        model: str | Path,
        adapter: str | Path | None = None,
        prompt: PromptTemplate | str | Path = "concept",
        scorer_settings: Mapping[str, Any] | None = None,
        options: HeadOptions | None = None,
        allow_in_sample: bool = False,
        classification: str = "icd9cm",
        selection: SelectionRule | None = None,
        experts: Sequence[ExpertRecipe] = (),
        descent: SelectionRule | None = None,
        views: Sequence[ExpertRecipe] | None = None,
    ) -> ConceptCoder:
        """Fits the heads on the scores of training notes.

        Args:
            notes: coded notes, among them every scored one. Gold codes outside the set are ignored.
            model: the base model that new notes will be scored with (`NO_MODEL`: none); adapter: on it.
            allow_in_sample: take scores of notes that the scorer was tuned on, and say so in every result.
            selection: which concepts the notes were asked about, where it was not all.
            experts: what is stacked with the scores, fitted here on the scored notes; see `concept_icd.experts`.
            descent, views: the names of `selection` and `experts` before 0.2.0.

        Raises:
            InputError: scores of another concept set, in-sample scores, a scored note without its codes, or a setting
                that no coder keeps.
        """
        if descent is not None or views is not None:
            old = "`descent` and `views` of ConceptCoder.fit are called `selection` and `experts` now"
            warnings.warn(old, DeprecationWarning, stacklevel=2)
            selection, experts = selection or descent, experts or views or ()
        settings = checked_settings(scorer_settings or {})
        template = prompt if isinstance(prompt, PromptTemplate) else PromptTemplate.load(prompt)
        reference = ModelReference.of(model, adapter)  # a wrong one is told before the long work
        training = with_gold(scores, notes, concepts, options or HeadOptions(), allow_in_sample)
        training, fitted = stack(training, experts)
        order = learn_order(training, classification)
        heads = fit_all_heads(training, order)
        return cls(
            training.concepts,
            heads,
            template,
            reference,
            settings,
            scores.out_of_fold,
            classification,
            None if order is None or heads.ranker.learned is None else order.lexicon,
            selection,
            fitted,
        )

    # Use ----------------------------------------------------------------------------------------------------------

    def complete(self, scores: ConceptScores, notes: Iterable[Note]) -> ConceptScores:
        """Scores of the concepts asked, with what the coder's experts say of these notes beside them.

        Args:
            scores: as a scorer gave them for `asked`. notes: every scored one among them.

        Raises:
            InputError: the scores are of another concept set, or a scored note is missing.
        """
        if not self.experts or scores.concept_hash == self.concepts.hash:
            return scores
        if scores.concept_hash != self.asked.hash:
            raise InputError("the scores are of another concept set than the coder's: score the notes with this coder")
        by_id = {note.note_id: note for note in notes}
        if missing := [note_id for note_id in scores.note_ids if note_id not in by_id]:
            raise InputError(f"the coder also reads the notes themselves, and {missing[0]!r} is not among them")
        own = [beginning(by_id[note_id]) for note_id in scores.note_ids]
        fill = self.heads.aggregator.mean[len(self.asked) :]
        return join(scores, self.concepts, [expert.log_odds(own) for expert in self.experts], fill)

    @cached_property
    def asked(self) -> ConceptSet:
        """The concepts that the scorer is asked about."""
        return without_experts(self.concepts)

    def rank(
        self, scores: ConceptScores, probabilities: np.ndarray | None = None, *, notes: Iterable[Note] = ()
    ) -> np.ndarray:
        """Order of the codes, int64, shape (notes, codes): the column of the code at each rank; see `heads.ranker`.

        Args:
            probabilities: what `predict_proba` gave for the scores, where it is at hand.
            notes: notes of these scores. The order of one that is not among them, or has no text, is the one that was
                learnt without text.
        """
        p = self.predict_proba(scores) if probabilities is None else probabilities
        order = self.heads.rank(scores.logits, p)
        if self.lexicon is None:
            return order
        read = {note.note_id: beginning(note).normalized.text for note in notes}
        texts = {note_id: text for note_id, text in read.items() if text}
        rows = np.array([row for row, note_id in enumerate(scores.note_ids) if note_id in texts], dtype=np.int64)
        text = self.lexicon.features([texts[scores.note_ids[row]] for row in rows])
        order[rows] = self.heads.rank(scores.logits[rows], p[rows], text)
        return order

    def code(self, note: Note | str, top_concepts: int = 5, evidence: bool = False) -> CodingResult:
        """Ranks every code of the set for one note, given as a record or as plain text.

        Args:
            evidence: also find the passages for and against each code (`concept_icd.coder.evidence`), which scores the
                note once more per sentence and for some clauses.

        Raises:
            InputError: the note is empty, or the model cannot be loaded.
        """
        return self(note, top_concepts=top_concepts, evidence=evidence)

    def code_batch(
        self, notes: Sequence[Note], *, top_concepts: int = 5, evidence: bool = False, batch: int = BATCH
    ) -> Iterator[CodingResult]:
        """Codes the notes in order, some at a time.

        Raises:
            InputError: a note is empty or no text.
        """
        checked(require_notes(notes))
        for start in range(0, len(notes), batch):
            part = notes[start : start + batch]
            results = self.results(self._score(part), top_concepts, notes=part)
            for note, result in zip(part, results, strict=True):
                if result.truncated is None and len(note.text) > LONGEST and (self.experts or self.lexicon):
                    sentence = f"words and terms were looked for in the first {LONGEST:,} characters alone"
                    result = replace(result, truncated=sentence)
                yield self.with_evidence(note, result) if evidence else result

    def with_evidence(self, note: Note, result: CodingResult, go_on: Callable[[], None] = lambda: None) -> CodingResult:
        """The result of this note with the passages for and against its codes; see `concept_icd.coder.evidence`.

        Args:
            go_on: is called between scorings; what it raises ends the search.
        """

        def log_odds(texts: Sequence[str], codes: Sequence[str]) -> np.ndarray:
            versions = [replace(note, note_id=str(number), text=text) for number, text in enumerate(texts)]
            return self._log_odds(versions, codes, go_on)

        read = self.scorer.text_read(replace(note, text=note.normalized.text), self.asked.concepts)
        return with_evidence(note, result, read, log_odds)

    def _log_odds(self, notes: Sequence[Note], codes: Sequence[str], go_on: Callable[[], None]) -> np.ndarray:
        """(notes, codes): see `Heads.log_odds`. Only the concepts that weigh on one of the codes are asked.

        Args:
            notes: with their row as id.
        """
        columns = [self.concepts.codes.index(code) for code in codes]
        weighed = np.unique(self.heads.aggregator.weights[columns].indices)
        asked = weighed[weighed < len(self.asked)]
        logits = np.zeros((len(notes), len(self.asked)), dtype=np.float32)
        for scores in self.scorer.iter_scores(notes, [self.asked.concepts[k] for k in asked]):
            go_on()
            if isinstance(scores, NoteFailure):
                raise InputError(scores.reason)
            logits[int(scores.note_id), asked] = scores.logits
        ids = tuple(note.note_id for note in notes)
        whole = self.complete(ConceptScores(ids, self.asked.hash, logits, (None,) * len(notes)), notes)
        return self.heads.log_odds(whole.logits, columns)

    def results(
        self,
        scores: ConceptScores,
        top_concepts: int = 5,
        top_codes: int | None = None,
        *,
        notes: Iterable[Note] = (),
        order: np.ndarray | None = None,
    ) -> Iterator[CodingResult]:
        """Ranked codes from concept scores that are there already.

        Args:
            top_concepts: how many concepts to name for each code, those that added most to its log-odds first.
            top_codes: the first codes of each note alone; None: every code of the set.
            notes: see `rank`. order: what `rank` gave for the scores, where it is at hand.
        """
        probabilities = self.predict_proba(scores)
        order = self.rank(scores, probabilities, notes=notes) if order is None else order
        return coding_results(
            self.heads,
            self.concepts,
            self.about_codes,
            self.versions,
            scores,
            probabilities,
            order,
            top_concepts,
            top_codes,
        )

    def with_scorer(self, scorer: str, **options: Any) -> ConceptCoder:
        """The coder with another scorer for new notes: "packed", "light" (small models), "vllm" or "server".

        Args:
            options: "url" of a server, and what goes to the scorer's `from_pretrained`, such as "dtype", by default
                that of the fit.
        """
        return replace(self, used_scorer={"scorer": scorer, **options})

    @property
    def scorer_mismatch(self) -> str | None:
        """One sentence where new notes are scored with another scorer, or in another precision, than those of the fit.

        In which precision a server holds its weights is not known here.
        """
        kinds = [_same_scores(settings.get("scorer", "packed")) for settings in (self.scorer_settings, self._used)]
        precisions = [precision_of(settings) for settings in (self.scorer_settings, self._used)]
        check = f"concept-icd check-parity --scorers {kinds[0]} {kinds[1]}"
        fitted_on, used = f"scores of the {kinds[0]} scorer", kinds[1]
        if precisions[0] != precisions[1] and "server" not in kinds:
            check += f" --dtype {precisions[0]} {precisions[1]}"
            fitted_on, used = f"{fitted_on} in {precisions[0]}", f"{used} in {precisions[1]}"
        elif kinds[0] == kinds[1]:
            return None
        return (
            f"the coder's heads were fitted on {fitted_on} and it is used with {used}: `{check}` says what that changes"
        )

    @property
    def _used(self) -> dict[str, Any]:
        """Settings of the scorer of new notes: those of the fit, but for what was said since."""
        return {**self.scorer_settings, **self.used_scorer}

    def _score(self, notes: Sequence[Note]) -> ConceptScores:
        if self._plan is None:
            scores: ConceptScores = self.scorer.score(notes, self.asked)
        else:
            scores = planned_scores(self.scorer, notes, self.asked, self._plan)
        return self.complete(scores, notes)

    @cached_property
    def _plan(self) -> TopDownSelection | None:
        if self.selection is None:
            return None
        return TopDownSelection.over(self.asked, load_ontology(self.classification), self.selection)

    @cached_property
    def scorer(self) -> Any:
        """The scorer, loaded when first asked for; the base model must be the one of the fit.

        A small model that the packed scorer scored for the fit is scored without torch here, which takes seconds to
        start; the scores are the same but for rounding (`concept_icd.scoring.numpy_llama`). The precision is that of
        the fit, on a GPU too.
        """
        from concept_icd.scoring.specs import ScorerSpec

        self.model.check()
        if self.scorer_mismatch:
            warnings.warn(self.scorer_mismatch, ScorerMismatch, stacklevel=2)
        options = self._used
        kind, url = options.pop("scorer", "packed"), options.pop("url", None)
        options["dtype"] = precision_of(options)
        if kind == "server" and not self.used_scorer:
            raise InputError(
                "the coder's heads were fitted on scores of a vLLM server: name the server that may read the notes "
                '(--scorer server --server-url URL, or `with_scorer("server", url=...)`), or another scorer'
            )
        adapter = str(self.model.adapter) if self.model.adapter is not None else None
        location = self.model.location if kind != "none" else self.model.name
        spec = ScorerSpec(kind, location, adapter, self.prompt, options, url)
        light = kind == "light" or (kind == "packed" and not self.used_scorer)
        if light and options["dtype"] == "float32":
            small = {name: value for name, value in options.items() if name != "dtype"}
            try:
                return replace(spec, kind="light", options=small).make()
            except InputError:  # not such a model
                if kind == "light":
                    raise
        elif kind == "light":
            raise InputError("the light scorer computes in float32 alone, and the coder in another precision")
        return spec.make()

    @cached_property
    def about_codes(self) -> list[dict[str, Any]]:
        """What a result says of each code whatever the note."""
        return describe_codes({code: self.concepts.meaning(code) for code in self.concepts.codes}, self.classification)

    @cached_property
    def versions(self) -> dict[str, str]:
        """What produced a result; hashes are shortened to 12 digits."""
        found = {
            "concept-icd": __version__,
            "coder": self.hash[:12],
            "model": str(self.model),
            "prompt": f"{self.prompt.name}@{self.prompt.hash[:12]}",
            "concepts": self.concepts.hash[:12],
            "heads_fitted_on": "out-of-fold scores" if self.out_of_fold else "IN-SAMPLE scores",
        }
        if self.scorer_mismatch:
            used_in = precision_of(self._used)
            precision = "" if used_in == precision_of(self.scorer_settings) else f" in {used_in}"
            found["scorer"] = f"{self._used.get('scorer', 'packed')}{precision}, not that of the fit"
        return found if self.model.adapter_sha256 is None else {**found, "adapter": self.model.adapter_sha256[:12]}


def _same_scores(scorer: str) -> str:
    """The light scorer gives the scores of the packed one."""
    return "packed" if scorer == "light" else scorer
