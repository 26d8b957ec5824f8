"""What every training run needs, whatever it trains: progress, resuming, and several processes that agree.

It knows transformers' Trainer, nothing of models or notes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from concept_icd.artifacts import loads
from concept_icd.errors import InputError
from concept_icd.outputs import begun_folder
from concept_icd.progress import ProgressBar

#: The Trainer's options that decide the result: a run is not resumed with others.
DECISIVE = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "train_sampling_strategy",
    "seed",
)


def on_main(work: Callable[[], None]) -> None:
    """Runs `work` on the main process while the others wait; its InputError is raised on all of them."""
    told: list[str | None] = [None]
    if PartialState().is_main_process:
        try:
            work()
        except InputError as error:
            told = [str(error)]
    broadcast_object_list(told)
    if told[0] is not None:
        raise InputError(told[0])


@contextmanager
def begun_together(path: Path, holds_work: Callable[[], bool], marks: Iterable[str]) -> Iterator[None]:
    """`begun_folder` for several processes: all have judged the folder before the first writes into it."""
    with begun_folder(path, holds_work, marks):
        PartialState().wait_for_everyone()
        yield


def last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint in `folder` that is whole; one that a kill cut short goes away.

    The trainer's state is what it writes last.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in reversed(found):
        try:
            loads((path / "trainer_state.json").read_text())
            return str(path)
        except (OSError, ValueError):
            if PartialState().is_main_process:
                shutil.rmtree(path)
    return None


class StepProgress(TrainerCallback):
    """Steps done, time left and the last loss, shown as all long work of this package is."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: ProgressBar | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the bar, on the main process alone."""
        if state.is_world_process_zero:
            self.bar = ProgressBar(state.max_steps, self.label, "steps", done=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts the optimiser's step."""
        if self.bar:
            self.bar.advance()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Takes the mean loss since the last one."""
        if self.bar and "loss" in (logs or {}):
            self.bar.remark(f"loss {float(logs['loss']):.4f}")

    def __enter__(self) -> StepProgress:
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the bar, also after an error."""
        if self.bar:
            self.bar.close()
            self.bar = None


@contextmanager
def full_disk_is_an_os_error() -> Iterator[None]:
    """Turns what torch says when a checkpoint cannot be written into an OSError."""
    try:
        yield
    except RuntimeError as error:
        if any(sign in str(error) for sign in ("inline_container", "iostream error")):
            raise OSError(f"no space left, or the disk fails ({str(error)[:80]})") from error
        raise
