"""How many tokens a benchmark asks of a model under a tuning config: counts from published numbers and assumptions.

It reads the config, the ontology and the base model's tokenizer where they lie here; it reads no note.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from concept_icd.corpora.mimic3.tasks import Task
from concept_icd.doctor.cost_model import ModelShape, local_folder
from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import Ontology, load_ontology
from concept_icd.resources import read_yaml
from concept_icd.tuning.arguments import ConceptArguments

#: Tokens of a discharge summary with its addenda, mean: an assumption. KEPT (Yang et al. 2022) says "3,000+".
NOTE_TOKENS = 3500
#: Characters a token of a question, where the base model's tokenizer is not on this machine: an assumption.
CHARACTERS_PER_TOKEN = 4.0
#: Labels of a stay, mean. 50 and full: CAML's table of its data; rare50: 146 labels of its 142 test stays; clean: an
#: assumption.
LABELS_PER_STAY = {"mimic3-50": 5.7, "mimic3-50-recounted": 5.7, "mimic3-rare50": 1.03, "mimic3-clean": 15.0}
#: Size of label sets that are counted from the tables, where nothing is published (mimic3-full-recounted): about.
COUNTED_LABELS = 9000


@dataclass
class Plan(ConceptArguments):
    """What a tuning config asks for: of the notes as the trainer reads it, and of the model and its training.

    The latter has the defaults of `concept_icd.tuning.config`, which cannot be imported without trl.
    """

    corpus: str = ""
    model_name_or_path: str = "tiny"
    dtype: str | None = None
    load_in_4bit: bool = False
    lora_r: int = 32
    lora_target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    max_length: int | None = None
    num_train_epochs: float = 3.0
    max_steps: int = -1
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False

    @property
    def adapters(self) -> int:
        """The final adapter and one a fold."""
        return 1 + self.folds

    @property
    def note_passes(self) -> float:
        """Passes of an epoch over the training notes, of all adapters together.

        k folds: k adapters on (k - 1)/k of the notes and one on all, k passes. A holdout h: one adapter on 1 - h.
        """
        return self.folds if self.folds else 1 - self.holdout

    def sequences(self, notes: int) -> float:
        """Training sequences, one a note and pass, of all adapters."""
        if self.max_steps > 0:
            return self.adapters * self.max_steps * self.per_device_train_batch_size * self.gradient_accumulation_steps
        return self.num_train_epochs * self.note_passes * notes

    def scored(self, train: int, test: int) -> float:
        """Notes that are scored: all, but with a holdout or without folds not those that the adapter was tuned on."""
        return test + (train if self.folds else self.holdout * train)


def read_plan(config: str | Path) -> Plan:
    """The plan of a tuning config, a shipped one by its bare name.

    Raises:
        InputError: no such file, or it is not a mapping.
    """
    path, content = read_yaml("configs", config)
    if not isinstance(content, dict):
        raise InputError(f"the config {path} must be a mapping of options to values")
    known = {field.name for field in fields(Plan)}
    values: dict[str, Any] = {key: value for key, value in content.items() if key in known}
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Plan(**values)


@dataclass(frozen=True)
class Workload:
    """A benchmark in tokens.

    Attributes:
        train, test: notes of the splits; a run does not score dev.
        labels, concepts: sizes of the label set and of its concept set.
        note_tokens, longest_note: mean and most tokens of a note as the model reads it.
        question_tokens: mean tokens of a question; none where a head answers.
        true_concepts: mean true concepts of a note.
    """

    train: int
    test: int
    labels: int
    concepts: int
    note_tokens: float
    longest_note: float
    question_tokens: float
    true_concepts: float

    @property
    def all_question_tokens(self) -> float:
        """Tokens of the questions about every concept."""
        return self.concepts * self.question_tokens

    def asked(self, plan: Plan) -> float:
        """Mean questions that a training sequence asks."""
        true = min(self.true_concepts, self.concepts)
        return plan.positive_share * true + plan.negative_share * (self.concepts - true)


def workload_of(task: Task, plan: Plan, shape: ModelShape, note_tokens: float = NOTE_TOKENS) -> Workload:
    """The tokens of a benchmark under a config.

    A label set that is counted from the tables is not known yet: a seeded sample of as many codes of ICD-9-CM stands
    in for it, which asks somewhat more (the codes of real stays share more ancestors).
    """
    ontology = load_ontology("icd9cm")
    size = task.labels or COUNTED_LABELS
    draws = random.Random(0)
    labels = task.codes or _sample(ontology, size, draws)
    aliases = dict(task.aliases) if task.codes else {}
    concepts = ConceptSet.expand(labels, ontology, plan.levels, aliases=aliases)
    per_stay = LABELS_PER_STAY.get(task.name, 15.9)
    stays = [draws.sample(labels, k=max(1, round(per_stay))) for _ in range(50)]
    template = PromptTemplate.load(plan.prompt)
    questions = [template.question.replace("{concept}", concept.text) for concept in concepts.concepts]
    longest = min(plan.max_length or shape.positions, shape.positions)
    return Workload(
        train=task.stays["train"],
        test=task.stays["test"],
        labels=len(labels),
        concepts=len(concepts),
        note_tokens=min(note_tokens, longest),
        longest_note=min(6 * note_tokens, longest),
        question_tokens=_question_tokens(plan, questions),
        true_concepts=fmean(float(concepts.weak_labels(stay).sum()) for stay in stays),
    )


def _sample(ontology: Ontology, size: int, draws: random.Random) -> tuple[str, ...]:
    """Billable codes, four diagnoses to one procedure, about as in MIMIC-III."""
    procedures = min(size // 5, len(ontology.codes("procedure")))
    diagnoses = draws.sample(ontology.codes("diagnosis"), size - procedures)
    return (*diagnoses, *draws.sample(ontology.codes("procedure"), procedures))


def _question_tokens(plan: Plan, questions: list[str]) -> float:
    if plan.asking == "head":
        return 0
    if plan.question_tokens:
        return plan.question_tokens
    folder = local_folder(plan.model_name_or_path)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return fmean(map(len, questions)) / CHARACTERS_PER_TOKEN
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return fmean(len(found.ids) for found in tokenizer.encode_batch(questions, add_special_tokens=False))
