"""The table of the command: on a terminal boxed, or stacked where that is narrow; elsewhere tab-separated lines.

No name and no number is cut or broken: a table that is wider than the terminal is printed as one block a row.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_table(
    title: str, columns: Iterable[str], rows: Iterable[Sequence[str]], *, caption: str = "", file: TextIO | None = None
) -> None:
    """Prints rows whose first cell is a name; the others are numbers, or texts where a name has one.

    Args:
        title: stands above it; elsewhere than on a terminal after a #, as the caption does.
        file: where to; None: stdout.
    """
    out = sys.stdout if file is None else file
    names, listed = list(columns), [[" ".join(cell.split()) for cell in row] for row in rows]
    if not out.isatty():
        for line in filter(None, [title and f"# {title}", "\t".join(names), *map("\t".join, listed)]):
            print(line, file=out)
        print(f"# {caption}\n" if caption else "", file=out)
        return
    console = Console(file=out, width=shutil.get_terminal_size().columns)
    if title:
        console.print(title, style="italic", markup=False, highlight=False)
    widths = [max(map(cell_len, column)) for column in zip(names, *listed, strict=True)]
    if sum(widths) + 3 * len(widths) + 1 <= console.width:
        console.print(_boxed(names, listed))
    else:
        _stacked(console, names, listed)
    if caption:
        console.print(caption, style="dim", markup=False, highlight=False)


def _boxed(names: list[str], rows: list[list[str]]) -> Table:
    table = Table()
    for number, name in enumerate(names):
        table.add_column(escape(name), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _stacked(console: Console, names: list[str], rows: list[list[str]]) -> None:
    """A block a row: its name, then a line a cell. A line that is too long goes on in the next one."""
    wide = max(map(cell_len, names[1:]), default=0)
    for first, *others in rows:
        console.print(first, style="bold", markup=False, highlight=False)
        for name, cell in zip(names[1:], others, strict=True):
            if cell:
                console.print(f"  {name.ljust(wide)}  {cell}", markup=False, highlight=False)
