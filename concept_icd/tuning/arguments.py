"""What is asked of the notes in tuning, and how it is split: the options that need no training library to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from concept_icd.errors import InputError, did_you_mean
from concept_icd.llm.prompts import checked_note_text

#: How concepts are asked.
ASKING = ("words", "tokens", "head")
#: Learned tokens a concept where nothing is said of their number.
QUESTION_TOKENS = 2


@dataclass
class ConceptArguments:
    """What to learn from.

    `folds` adapters are tuned beside the final one, each on the notes of the other folds, so that heads can be fitted
    on scores of notes that the adapter did not see; `holdout` is the cheap way: that share of the notes is kept from
    the only adapter.
    """

    corpus: str = field(metadata={"help": "Folder written by `concept-icd prepare`."})
    splits: list[str] = field(
        default_factory=lambda: ["train"], metadata={"help": "Splits to learn from; notes without a split count in."}
    )
    codes: str | None = field(default=None, metadata={"help": "Label set: a file with one code a line; by default "
                                                      "the codes of the training notes."})  # fmt: skip
    classification: str | None = field(default=None, metadata={"help": "Ontology of the codes: the corpus' own."})
    levels: list[str] = field(
        default_factory=lambda: ["chapter", "section", "category", "subcategory", "code"],
        metadata={"help": "Levels of concepts to ask about."},
    )
    phrases: str | None = field(default=None, metadata={"help": "Phrase file: JSON, phrases per code (as in CEC)."})
    prompt: str = field(default="concept", metadata={"help": "Prompt template: a name or a YAML file."})
    asking: str | None = field(
        default=None,
        metadata={"help": "How concepts are asked: in the prompt's words (the default), by learned tokens, or by a "
                          "concept head, which answers all of them from one reading of the note."},
    )  # fmt: skip
    question_tokens: int | None = field(
        default=None,
        metadata={"help": "Learned tokens a concept that ask about it in the place of the prompt's question, and start "
                          "from its words (1 to 4 are usual; 2 with --asking tokens)."},
    )  # fmt: skip
    note_text: str = field(
        default="whole",
        metadata={"help": "What is read of a note that is too long: its beginning (whole) or its sections, the most "
                          "useful first (sections)."},
    )  # fmt: skip
    positive_share: float = field(default=1.0, metadata={"help": "Share of a note's true concepts that is asked."})
    negative_share: float = field(default=0.1, metadata={"help": "Share of the false concepts that is asked."})
    soft_targets: float = field(default=0.0, metadata={"help": "Weight of the annotators' votes in the targets."})
    distil_corpus: str | None = field(
        default=None, metadata={"help": "Folder of notes without codes (`concept-icd prepare`), none of them of the "
                                        "corpus, that a larger model has scored: its answers are learned too."},
    )  # fmt: skip
    distil_scores: str | None = field(
        default=None, metadata={"help": "The larger model's scores of them (`concept-icd score`)."}
    )
    note_dropout: float = field(default=0.0, metadata={"help": "Chance of a note's token to be left out of a step."})
    folds: int = field(default=5, metadata={"help": "Adapters for out-of-fold scores; 0: none."})
    average: bool = field(
        default=False, metadata={"help": "Score new notes by the mean over the adapters of all folds and the final "
                                         "one, which takes as many times as long."},
    )  # fmt: skip
    holdout: float = field(default=0.0, metadata={"help": "Instead of folds: share of notes kept for the heads."})

    def __post_init__(self) -> None:
        self.corpus = str(Path(self.corpus))  # "./out" and "out" are one corpus to a run that goes on
        checked_note_text(self.note_text)
        if self.folds == 1 or self.folds < 0:
            raise InputError(f"folds must be 0 or at least 2, it is {self.folds}")
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout must lie in [0, 1), it is {self.holdout}")
        if self.folds and self.holdout:
            raise InputError("give folds or holdout, not both: set folds to 0 to keep a held-out share")
        if self.average and not self.folds:
            raise InputError("average needs the adapters of folds: set folds to at least 2, or leave average out")
        if self.question_tokens is not None and self.question_tokens < 1:
            raise InputError(f"question_tokens must be at least 1 (left out: words), it is {self.question_tokens}")
        if self.asking not in (None, *ASKING):
            raise InputError(f"asking must be {', '.join(ASKING[:-1])} or {ASKING[-1]}, it is {self.asking!r}"
                             f"{did_you_mean(str(self.asking), ASKING)}")  # fmt: skip
        if self.question_tokens and self.asking in ("words", "head"):
            raise InputError(f"asking {self.asking} learns no tokens: leave question_tokens out, or ask by tokens")
        if self.asking == "tokens" and self.question_tokens is None:
            self.question_tokens = QUESTION_TOKENS
        if bool(self.distil_corpus) != bool(self.distil_scores):
            raise InputError("distil_corpus and distil_scores go together: the notes, and the larger model's scores")
        if not 0 <= self.soft_targets <= 1:
            raise InputError(f"soft_targets must lie in [0, 1], it is {self.soft_targets}")
