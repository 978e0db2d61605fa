"""All that the driver prints: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tritonbuild.errors import BuildError, CommandFailed

# A failed RUN quotes itself several times, thousands of characters long; the log has it whole.
_TAIL_WIDTH = 160


@dataclass
class Step:
    """A running stage; ``note`` shows what it is doing right now."""

    console: Console
    title: str
    outcome: str = ""
    progress: Progress | None = None
    task: TaskID | None = None

    def note(self, text: str) -> None:
        """Show one line of detail: live on a terminal, in the log otherwise."""
        self.console.log(f"    {text}")
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, detail=escape(text[:100]))
        elif self.console.verbose:
            self.console.line(f"    {text}")

    def milestone(self, text: str) -> None:
        """Show one line that also matters in CI, where nothing is live."""
        if self.progress is not None:
            self.note(text)
        else:
            self.console.log(f"    {text}")
            self.console.line(f"    {text}")


@dataclass
class Console:
    """Progress for a person on a terminal, plain lines elsewhere; everything goes to the log too."""

    verbose: bool = False
    quiet: bool = False
    log_stream: TextIO | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._err = RichConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self._out = RichConsole(highlight=False, emoji=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = 200  # nothing is cut where a program reads
        self.live = self._err.is_terminal and not os.environ.get("CI")

    def log(self, text: str) -> None:
        """Write a line to the log file, when there is one."""
        if self.log_stream:
            self.log_stream.write(text + "\n")
            self.log_stream.flush()

    @contextmanager
    def logging_to(self, path: Path) -> Iterator[None]:
        """Write everything to a log file as well, as long as this lasts."""
        with path.open("w", encoding="utf-8") as stream:
            self.log_stream = stream
            try:
                yield
            except BuildError as error:
                self.log(f"error: {error.message}")
                raise
            finally:
                self.log_stream = None

    def line(self, text: str) -> None:
        if not self.quiet:
            self._err.print(escape(text))

    def info(self, text: str) -> None:
        self.log(text)
        self.line(text)

    def warn(self, text: str) -> None:
        self.log(f"warning: {text}")
        self._err.print(f"[yellow]warning:[/] {escape(text)}")

    def result(self, text: str) -> None:
        """Print a result to stdout, as it is."""
        self._out.print(text, markup=False)

    def table(self, table: Table) -> None:
        self._out.print(table)

    def error(self, error: BuildError) -> None:
        """Print a failure: what is wrong, the last lines of the failed program, what to do."""
        if isinstance(error, CommandFailed):
            for row in error.tail:
                self._err.print(f"    [dim]{escape(row[:_TAIL_WIDTH])}[/]")
        for row in error.message.splitlines():
            self._err.print(f"[red]error:[/] {escape(row)}")
        if error.hint:
            self._err.print(f"[cyan]hint:[/] {escape(error.hint)}")

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        """Time one stage and show that it runs, how long it took and how it ended."""
        started = time.monotonic()
        self.log(f"==> {title}")
        step = Step(self, title)
        try:
            if self.live and not self.quiet:
                columns = (
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    TimeElapsedColumn(),
                    TextColumn("[dim]{task.fields[detail]}"),
                )
                with Progress(*columns, console=self._err, transient=True) as progress:
                    step.progress = progress
                    step.task = progress.add_task(escape(title), total=None, detail="")
                    yield step
            else:
                self.line(f"==> {title}")
                yield step
        except BaseException as error:
            ending = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._ended(name, title, started, ending, style="red")
            raise
        self._ended(name, title, started, step.outcome or "done", style="green")

    def _ended(self, name: str, title: str, started: float, outcome: str, *, style: str) -> None:
        elapsed = time.monotonic() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        text = f"{title}: {outcome} ({elapsed:.1f} s)"
        self.log(text)
        if not self.quiet:
            mark = "ok" if style == "green" else "--"
            self._err.print(f"[{style}]{mark}[/] {escape(text)}")
