"""Pre-training of the tiny base model: a warm-up (`concept_icd.warmup`) that begins at random weights.

All of the weights learn, from the language of open text too; the matrices by Muon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from concept_icd.llm.base_model import load_model
from concept_icd.llm.packed_pass import accept_packing
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.warmup.data import withheld
from concept_icd.warmup.questions import QuestionMaker
from concept_icd.warmup.training import WITHHELD_DOCUMENTS, Learner, Warmup, WarmupOptions
from scripts.pretraining.model import MAX_LENGTH, new_model, new_optimizers, train_tokenizer


@dataclass
class PretrainingOptions(WarmupOptions):
    """What decides a run, besides its data: the model's sizes, and how it learns."""

    steps: int = 7500
    learning_rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.05
    easy_steps: int = 500
    question_weight: float = 2.0
    told_weight: float = 1.0
    language_weight: float = 1.0
    checkpoint_every: int = 250
    evaluate_every: int = 500
    layers: int = 4
    hidden: int = 128
    heads: int = 4
    mlp: int = 384
    vocabulary: int = field(default=8000, metadata={"help": "The most tokens there may be."})
    start_from: str = field(default="", metadata={"help": "A model to go on from; its sizes and tokenizer are kept."})


def pretraining(
    options: PretrainingOptions, maker: QuestionMaker, streams: Sequence[Sequence[str]], folder: str | Path
) -> Warmup:
    """A run that begins at random weights, or at those of `start_from`.

    Raises:
        InputError: the checkpoint is of a run with other options, or the model to start from cannot be loaded.
    """

    def begin(checkpoint: Path | None) -> Learner:
        if start := checkpoint or options.start_from:
            loaded = load_model(start, device="cpu")
            model, tokenizer = loaded.model.train(), loaded.tokenizer
        else:
            read = [[text for text in texts if not withheld(text, WITHHELD_DOCUMENTS)] for texts in streams]
            asked = list(maker.terms.texts.values())
            tokenizer = train_tokenizer((text for texts in [*read, asked] for text in texts), options.vocabulary)
            sizes = {name: getattr(options, name) for name in ("layers", "hidden", "heads", "mlp")}
            model = new_model(tokenizer, options.seed, **sizes)
            accept_packing(model)
        prompt = TokenizedPrompt(PromptTemplate.load("concept"), tokenizer, MAX_LENGTH)
        optimizers = new_optimizers(model, options.learning_rate, options.weight_decay)

        def save(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        return Learner(model, prompt, optimizers, save)

    return Warmup(options, maker, streams, folder, begin, asdict(options))
