"""TRL's SFTTrainer on packed sequences: the loss is on the answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PrinterCallback, ProgressCallback
from trl import SFTTrainer

from concept_icd.llm.concept_head import ConceptHead, add_concept_head, learned_head
from concept_icd.llm.packed_pass import head_margins, packed_margins
from concept_icd.llm.question_embedding import add_question_tokens, learned_from
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.tuning.examples import NO_ANSWER
from concept_icd.tuning.runs import StepProgress, full_disk_is_an_os_error


def answer_loss(margins: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of the binary cross-entropies of the answers, a scalar in nats.

    Cross-entropy over the two answer tokens alone, -[t log s(m) + (1 - t) log s(-m)] with m = logit(yes) - logit(no):
    what a score is read from, and nothing about the rest of the vocabulary.

    Args:
        margins: (B, K). targets: (B, K) in [0, 1], or `NO_ANSWER` where there is no question.
    """
    asked = targets != NO_ANSWER
    return binary_cross_entropy_with_logits(margins[asked], targets[asked], reduction="sum")


class ConceptTrainer(SFTTrainer):
    """Trains the answers of packed questions.

    Args:
        yes_id, no_id: the answer tokens. offset: see `PackedCollator.sampling_offset`.
        label: what the progress is called.
        questions, unit: learned question tokens or the concept head to go on from, and the tokens' unit
            (`QuestionEmbedding`); None: questions are words.

    The mean runs over the questions of the whole optimiser step, across gradient accumulation and devices, as if each
    were a prompt of its own.
    """

    def __init__(
        self,
        *args: Any,
        yes_id: int,
        no_id: int,
        offset: float,
        label: str = "tuning",
        questions: QuestionTokens | ConceptHead | None = None,
        unit: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        _leave_outputs_alone(getattr(self.accelerator.state, "fsdp_plugin", None))
        self._learned, self._unit = questions, unit
        if isinstance(questions, ConceptHead):
            add_concept_head(self.model, questions)
        elif questions is not None:
            add_question_tokens(self.model, questions, unit)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self._progress = StepProgress(label)
        self.add_callback(self._progress)
        self.yes_id, self.no_id, self.offset = yes_id, no_id, offset
        # Trainer then counts the answers of a step and leaves the division to compute_loss ...
        self.model_accepts_loss_kwargs = True
        # ... and counts all columns: these labels stand where the logits are, not one token later.
        self._loss_shifts_labels = False

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains, with progress.

        Raises:
            OSError: a checkpoint cannot be written.
        """
        with full_disk_is_an_os_error(), self._progress:
            return super().train(*args, **kwargs)

    def learned_questions(self, weights: Mapping[str, torch.Tensor]) -> QuestionTokens | ConceptHead | None:
        """The question tokens or the head among the model's gathered weights; None where questions are words."""
        if isinstance(self._learned, ConceptHead):
            return learned_head(weights, self._learned.keys)
        return None if self._learned is None else learned_from(weights, self._learned.keys, self._unit)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint holds the question tokens or the head too."""
        super()._save(output_dir, state_dict)
        if self.args.should_save and (learned := self.learned_questions(state_dict or self.model.state_dict())):
            learned.save(output_dir or str(self.args.output_dir))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean binary cross-entropy of the answers of the step that this batch belongs to."""
        targets = inputs["labels"]
        count = targets.shape[1]
        if isinstance(self._learned, ConceptHead):
            margins = head_margins(model, inputs, count)
        else:
            margins = packed_margins(model, inputs, self.yes_id, self.no_id, count)
        total = answer_loss(margins + self.offset, targets)
        if num_items_in_batch is None:
            num_items_in_batch = (targets != NO_ANSWER).sum()
        elif self.args.average_tokens_across_devices:
            total = total * self.accelerator.num_processes  # the wrapper averages gradients over devices
        loss = total / num_items_in_batch
        return (loss, {"logits": margins}) if return_outputs else loss


def _leave_outputs_alone(plugin: Any) -> None:
    """Under FSDP, accelerate would round to bfloat16 what the head gives: margins are in float32 for a reason."""
    policy: Any = getattr(plugin, "mixed_precision_policy", None)
    if getattr(policy, "output_dtype", None) is not None:
        plugin.mixed_precision_policy = replace(policy, output_dtype=None)
