"""What a user is told on stderr while a command runs: sentences, and the progress of long work.

Progress is a bar with an estimate of the time left on a terminal, and a plain line now and then elsewhere. All of it
goes through the logger "concept_icd": at INFO what is told, at WARNING what should not be missed, at DEBUG what took
how long.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


LOGGER = logging.getLogger("concept_icd")


class _ToStderr(logging.Handler):
    """Prints on stderr as it is at that moment, unless the application has a handler of its own that prints there."""

    def emit(self, record: logging.LogRecord) -> None:
        if not any(getattr(handler, "stream", None) in (sys.stderr, sys.stdout) for handler in logging.root.handlers):
            plain = getattr(record, "plain", False)
            print(f"{'' if plain else 'concept-icd: '}{record.getMessage()}", file=sys.stderr, flush=True)


LOGGER.addHandler(_ToStderr())
LOGGER.setLevel(logging.INFO)


def say(sentence: str, level: int = logging.INFO) -> None:
    """Tells what was guessed, left alone or begun."""
    LOGGER.log(level, "%s", sentence)


def tell(line: str) -> None:
    """Tells how far the work is, without the name of the command before it."""
    LOGGER.info("%s", line, extra={"plain": True})


def say_next(*command: object) -> None:
    """Tells the command that comes after a finished stage, where a person reads: on a terminal alone."""
    if sys.stderr.isatty():
        say(f"next: {shlex.join(map(str, command))}")


@contextmanager
def progress_bar(total: int, label: str, unit: str = "notes", done: int = 0) -> Iterator[ProgressBar]:
    """Shows how far `total` units of work have come; call `.advance(n)` on what it yields.

    Args:
        done: units that an earlier run did.
    """
    bar = ProgressBar(total, label, unit, done)
    try:
        yield bar
    finally:
        bar.close()


class ProgressBar:
    """See `progress_bar`. Plain lines come every 10 seconds and at the end, so that logs stay short."""

    def __init__(self, total: int, label: str, unit: str, done: int = 0) -> None:
        self.total, self.label, self.unit, self.done = total, label, unit, done
        self._earlier, self._remark = done, ""
        self._start = self._last = time.monotonic()
        self._rich = None
        if sys.stderr.isatty() and LOGGER.isEnabledFor(logging.INFO):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
            self._rich = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self._task = self._rich.add_task(label, total=total, completed=done)
            self._rich.start()

    def advance(self, amount: int = 1) -> None:
        """Counts units that are done."""
        self.done += amount
        if self._rich is not None:
            self._rich.update(self._task, completed=self.done)
        elif time.monotonic() - self._last > 10:
            self._line()

    def remark(self, text: str) -> None:
        """What stands beside the count from now on, such as a loss."""
        self._remark = text
        if self._rich is not None:
            self._rich.update(self._task, description=f"{self.label}, {text}")

    def close(self) -> None:
        """Leaves the last state on the screen, or in the log that all is done."""
        if self._rich is not None:
            self._rich.stop()
        elif self.done >= self.total:  # after an error, the error has the last word
            self._line()

    def _line(self) -> None:
        self._last = time.monotonic()
        seconds, here = self._last - self._start, self.done - self._earlier
        parts = [f"{self.label}: {self.done}/{self.total} {self.unit}", f"{seconds:.0f} s"]
        if here and self.done < self.total:
            parts.append(f"about {seconds / here * (self.total - self.done):.0f} s left")
        tell(", ".join([*parts, *filter(None, [self._remark])]))


class TokenRates:
    """Keeps notes/s, tokens/s and the share of tokens that needed no computing beside a bar."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar, self._notes, self._computed, self._reused = bar, 0, 0, 0
        self._start = time.monotonic()

    def count(self, computed: int, reused: int) -> None:
        """One note more: prompt tokens that went through the model, and those that were in its cache."""
        self._notes, self._computed, self._reused = self._notes + 1, self._computed + computed, self._reused + reused
        seconds = max(time.monotonic() - self._start, 1e-9)
        parts = [f"{self._notes / seconds:.3g} notes/s"]
        if tokens := self._computed + self._reused:
            parts += [f"{tokens / seconds:,.0f} tokens/s", f"{self._reused / tokens:.1%} of them from the cache"]
        self._bar.remark(", ".join(parts))


def track(items: Iterable[T], total: int, label: str, unit: str = "notes") -> Iterator[T]:
    """Yields the items, showing progress."""
    with progress_bar(total, label, unit) as bar:
        for item in items:
            yield item
            bar.advance()
