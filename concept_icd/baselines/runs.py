"""What the trained baselines share: a run that is resumed only with its own options, and LoRA through the Trainer."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator, PartialState

from concept_icd.artifacts import read_record
from concept_icd.baselines.options import TrainingOptions
from concept_icd.errors import InputError
from concept_icd.outputs import MANIFEST, new_folder, writing
from concept_icd.tuning.runs import StepProgress, full_disk_is_an_os_error, last_checkpoint

#: What a run that is not finished was begun with.
RUN = "run.json"


def is_new_run(out: Path, config: Mapping[str, Any], made_of: Mapping[str, Any], holds_work: bool) -> bool:
    """Whether `out` is to be begun; False where the same run was begun there.

    Args:
        config: the options that decide the result. made_of: hashes of what is read. holds_work: of `out`.

    Raises:
        InputError: a finished run, or one with other options that holds work.
    """
    if (out / MANIFEST).is_file():
        raise InputError(f"{out} is finished; name another folder or delete it to train again")
    if not (out / RUN).is_file():
        return True
    earlier = read_record(out / RUN)
    changed = [name for name, value in config.items() if earlier["config"].get(name) != value]
    changed += [f"the {name} itself" for name in made_of if earlier["made_of"].get(name) != made_of[name]]
    if changed and (holds_work or earlier["made_of"].keys() != made_of.keys()):  # the latter is of another stage
        raise InputError(f"{out} was begun with other options ({', '.join(changed)}); name another folder")
    return bool(changed)


def fit_lora(
    model: Any,
    examples: Sequence[Mapping[str, Any]],
    collate: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]],
    training: TrainingOptions,
    out: Path,
    loss: Callable[..., Any] | None = None,
) -> None:
    """Trains a model with LoRA on it and writes the adapter to `out` by rename; resumes from `training.output_dir`.

    Args:
        model: as `peft.get_peft_model` gives it. examples: rows of the training set, as `collate` takes them.
        loss: of (outputs, labels, num_items_in_batch); None: the model's own.
    """
    from transformers import PrinterCallback, ProgressCallback, Trainer

    folder, progress = Path(str(training.output_dir)), StepProgress(f"training {out.name}")
    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=examples,
        data_collator=collate,
        callbacks=[progress],
        compute_loss_func=loss,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    checkpoint = last_checkpoint(folder)
    if checkpoint and PartialState().is_main_process:
        print(f"resuming from {checkpoint}", file=sys.stderr, flush=True)
    with writing(folder), full_disk_is_an_os_error(), progress:
        trainer.train(resume_from_checkpoint=checkpoint)
    save_adapter(trainer.accelerator, trainer.model, out)


def save_adapter(accelerator: Accelerator, model: Any, out: Path) -> None:
    """Writes a PEFT adapter. Every process takes part in gathering the weights; the main one writes."""
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        with new_folder(out) as staging:
            accelerator.unwrap_model(model).save_pretrained(str(staging), state_dict=weights, safe_serialization=True)
            (staging / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    accelerator.wait_for_everyone()


def in_folder(training: TrainingOptions, folder: Path, **changes: Any) -> TrainingOptions:
    """The same training with its checkpoints in `folder`, and other changes."""
    return dataclasses.replace(training, output_dir=str(folder), **changes)
