"""Progress bars on a terminal: one line a step, with bytes, packages, rate and time left."""

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ptmtorrent.cli._text import spell_progress
from ptmtorrent.model import records
from ptmtorrent.scrub import escape


class Bars:
    """The bars of one run on `stream`. Not thread-safe by itself; the sink serialises calls."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=Console(file=stream, highlight=False, markup=False),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, reading: records.Progress) -> None:
        """Move the bar of the record's step."""
        done, total = _fraction(reading)
        text = escape(spell_progress(reading))
        task = self._tasks.get(reading.step)
        if task is None:
            self._tasks[reading.step] = self._progress.add_task(text, completed=done, total=total)
        else:
            self._progress.update(task, description=text, completed=done, total=total)

    def print(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Remove the bars and show the cursor again."""
        self._progress.stop()


def _fraction(reading: records.Progress) -> tuple[int, int | None]:
    if reading.bytes_total:
        return reading.bytes, reading.bytes_total
    return reading.packages, reading.packages_total
