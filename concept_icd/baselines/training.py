"""What the trained baselines share: their options, a run that goes on after a kill, and training by the Trainer."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from transformers import TrainingArguments

from concept_icd.artifacts import read_record, write_json, write_manifest
from concept_icd.errors import InputError
from concept_icd.outputs import MANIFEST, new_folder, writing
from concept_icd.tuning.publishing import CONSENT, check_trackers
from concept_icd.tuning.runs import (
    DECISIVE,
    StepProgress,
    begun_together,
    full_disk_is_an_os_error,
    last_checkpoint,
    on_main,
)

#: What a run that is not finished was begun with, and where the Trainer keeps what a killed run goes on from.
RUN, CHECKPOINTS = "run.json", "checkpoints"


@dataclass
class CorpusOptions:
    """What is learnt from, and what is predicted."""

    corpus: str = field(default="", metadata={"help": "Folder written by `concept-icd prepare`."})
    classification: str = field(default="icd9cm", metadata={"help": "Ontology of the codes."})
    predict_split: str = field(default="test", metadata={"help": "Split that predictions.jsonl is of."})
    top_codes: int = field(
        default=0, metadata={"help": "Codes of a note in predictions.jsonl, the first-ranked; 0: all (AUC needs all)."}
    )

    def __post_init__(self) -> None:
        if not self.corpus:
            raise InputError("name the prepared corpus with --corpus")
        if self.top_codes < 0:
            raise InputError(f"top_codes must not be negative, it is {self.top_codes}")


@dataclass
class ThresholdOptions(CorpusOptions):
    """The same, where a threshold is chosen on notes that are not learnt from."""

    holdout: float = field(
        default=0.1,
        metadata={"help": "Share of the training patients whose notes choose the threshold, where the corpus has no "
                          "dev split; 0: none, the threshold is 0.5."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout must lie in [0, 1), it is {self.holdout}")


@dataclass
class TrainingOptions(TrainingArguments):
    """The Trainer's options; the defaults that differ are private and short on disk, or have their reason here."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the model and its predictions."})
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Trackers."})  # noqa: RUF036
    i_may_publish: bool = field(default=False, metadata={"help": CONSENT})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=20, metadata={"help": "Epochs."})
    lr_scheduler_type: str = field(default="linear", metadata={"help": "Shape of the learning rate."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between loss lines."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint to resume from."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept."})
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "Less padding."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "There are none."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory."})

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise InputError("name the folder of the model with --output_dir")
        if self.push_to_hub:
            raise InputError("push_to_hub is for adapters of `concept-icd finetune`: upload this folder yourself")
        check_trackers(self)
        if not torch.cuda.is_available():
            self.use_cpu, self.bf16, self.fp16 = True, False, False
        self.remove_unused_columns = False
        self.disable_tqdm = True  # the package shows its own progress
        super().__post_init__()


def decisive_options(
    model: Any, choices: CorpusOptions, training: TrainingOptions, without: Sequence[str] = ()
) -> dict[str, Any]:
    """The options that decide the result, as plain values: all of the model and the corpus, and `DECISIVE` ones."""
    config = dataclasses.asdict(model) | dataclasses.asdict(choices)
    return config | {name: getattr(training, name) for name in DECISIVE if name not in without}


def run_baseline(
    name: str,
    training: TrainingOptions,
    *,
    config: Mapping[str, Any],
    made_of: Callable[[], Mapping[str, Any]],
    holds_work: Callable[[Path], bool],
    learn: Callable[[], None],
    finish: Callable[[], None],
    manifest: Mapping[str, Any],
    prepare: Callable[[], None] = lambda: None,
    temporary: Sequence[str] = (),
) -> Path:
    """One run, which the same command goes on with after a kill; returns its folder, `training.output_dir`.

    Every process learns; the main one alone finishes, while the others end: waiting for hours would count as a hang.

    Args:
        config: the options that decide the result. made_of: gives hashes of what is read; asked of the main process.
        holds_work: whether the folder holds what was learnt. prepare: what only a new run needs before it learns.
        manifest: what `write_manifest` gets beside these. temporary: folders that go in the end as the checkpoints do.

    Raises:
        InputError: the folder holds a finished run, or one with other options; or what the work says.
    """
    start, out = time.monotonic(), Path(str(training.output_dir))

    def begin() -> None:
        read = made_of()
        if _is_new_run(out, config, read, holds_work(out)):
            prepare()
            write_json(out / RUN, {"config": config, "made_of": read})

    with begun_together(out, lambda: holds_work(out), (MANIFEST, RUN, *temporary)):
        on_main(begin)
        learn()
        if PartialState().is_main_process:
            finish()
            write_manifest(out, name, config=config, seed=training.seed, seconds=time.monotonic() - start, **manifest)
            for part in (CHECKPOINTS, *temporary):
                shutil.rmtree(out / part, ignore_errors=True)
            (out / RUN).unlink(missing_ok=True)
    return out


def _is_new_run(out: Path, config: Mapping[str, Any], made_of: Mapping[str, Any], holds_work: bool) -> bool:
    """Whether `out` is to be begun; False where the same run was begun there.

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


def with_lora(
    model: Any, training: TrainingOptions, *, r: int, alpha: int, dropout: float, modules: Sequence[str], task: str
) -> Any:
    """A base model made ready to be trained, with LoRA on some of its modules.

    Args:
        task: PEFT's name; "SEQ_CLS" tunes and saves the classification head too.

    Raises:
        InputError: the model has no such modules.
    """
    import peft

    model = model.train()
    if getattr(model, "is_loaded_in_4bit", False):
        model = peft.prepare_model_for_kbit_training(model, training.gradient_checkpointing)
    elif training.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = peft.LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(modules), task_type=task)
    try:
        return peft.get_peft_model(model, lora)
    except ValueError as error:
        raise InputError(f"the options do not fit the model: {' '.join(str(error).split())}") from error


def pad_ids(
    rows: Sequence[Sequence[int] | np.ndarray], padding_id: int, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of a batch, int64 (rows, longest), padded on the right, or on the left.

    >>> [part.tolist() for part in pad_ids([[5, 6], [7]], 0)]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), padding_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        part = slice(longest - len(tokens), None) if left else slice(len(tokens))
        ids[row, part], mask[row, part] = torch.as_tensor(tokens).long(), 1
    return ids, mask


def run_trainer(
    model: Any,
    examples: Sequence[Mapping[str, Any]],
    collate: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]],
    training: TrainingOptions,
    folder: Path,
    label: str,
    loss: Callable[..., Any] | None = None,
    **changes: Any,
) -> Any:
    """Trains a model; goes on from the last checkpoint in `folder`. Returns the Trainer, which holds the model.

    Args:
        examples: rows of the training set, as `collate` takes them.
        loss: of (outputs, labels, num_items_in_batch); None: the model's own. changes: of the options.
    """
    from transformers import PrinterCallback, ProgressCallback, Trainer

    progress = StepProgress(f"training {label}")
    trainer = Trainer(
        model=model,
        args=dataclasses.replace(training, output_dir=str(folder), **changes),
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
    return trainer


def fit_lora(
    model: Any,
    examples: Sequence[Mapping[str, Any]],
    collate: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]],
    training: TrainingOptions,
    folder: Path,
    out: Path,
    loss: Callable[..., Any] | None = None,
    **changes: Any,
) -> None:
    """Trains a model of `with_lora` as `run_trainer` does, and writes its adapter to `out` by rename."""
    trainer = run_trainer(model, examples, collate, training, folder, out.name, loss, **changes)

    def write(staging: Path, tuned: Any, weights: Mapping[str, Any]) -> None:
        tuned.save_pretrained(str(staging), state_dict=weights, safe_serialization=True)
        (staging / "README.md").unlink(missing_ok=True)  # PEFT's empty model card

    save_whole(trainer.accelerator, trainer.model, out, write)


def save_whole(
    accelerator: Accelerator, model: Any, out: Path, write: Callable[[Path, Any, Mapping[str, Any]], None]
) -> None:
    """Writes a trained model by rename. Every process takes part in gathering the weights; the main one writes.

    Args:
        write: into a folder, the model and its gathered weights.
    """
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        with new_folder(out) as staging:
            write(staging, accelerator.unwrap_model(model), weights)
    accelerator.wait_for_everyone()
