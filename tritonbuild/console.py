"""All that the driver prints: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from tritonbuild.errors import BuildError, CommandFailed
from tritonbuild.process import Children

# A failed RUN quotes itself several times, thousands of characters long; the log has it whole.
_TAIL_WIDTH = 160


def _make_progress(console: RichConsole) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("[dim]{task.fields[detail]}", table_column=Column(no_wrap=True, ratio=1)),
        console=console,
        transient=True,
        expand=True,
    )


@dataclass
class Step:
    """A running stage; ``note`` shows what it is doing right now."""

    console: Console
    title: str
    outcome: str = ""
    progress: Progress | None = None
    task: TaskID | None = None

    @property
    def children(self) -> Children:
        """The programs that end when the build is told to; every program of a stage belongs there."""
        return self.console.children

    def note(self, text: str) -> None:
        """Show one line of detail: live on a terminal, in the log otherwise."""
        self.console.log(f"    {text}")
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, detail=escape(text[:100]))
        elif self.console.verbose:
            self.console.line(f"    {self.console.prefix}{text}")

    def milestone(self, text: str) -> None:
        """Show one line that also matters in CI, where nothing is live."""
        if self.progress is not None:
            self.note(text)
        else:
            self.console.log(f"    {text}")
            self.console.line(f"    {self.console.prefix}{text}")


@dataclass
class Console:
    """Progress for a person on a terminal, plain lines elsewhere; everything goes to the log too."""

    verbose: bool = False
    quiet: bool = False
    log_stream: TextIO | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    prefix: str = ""
    """Stands before each line that does not name its row by itself."""
    stage: str = ""
    """The stage that runs, or the last one that did."""
    children: Children = field(default_factory=Children)

    def __post_init__(self) -> None:
        self._err = RichConsole(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self._out = RichConsole(highlight=False, emoji=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = 200  # nothing is cut where a program reads
        self.live = self._err.is_terminal and not os.environ.get("CI")
        self._board: Progress | None = None

    def for_row(self, row: str) -> Console:
        """Return a console with a log, a clock and lines of its own, on the same terminal."""
        own = Console(
            verbose=self.verbose, quiet=self.quiet, prefix=f"{row} " if row else "", children=self.children
        )
        own._err, own._out, own.live, own._board = self._err, self._out, self.live, self._board
        return own

    @property
    def log_file(self) -> Path | None:
        """The log that is written right now."""
        name = getattr(self.log_stream, "name", None)
        return Path(name) if name else None

    def log(self, text: str) -> None:
        """Write a line to the log file, when there is one."""
        if self.log_stream:
            self.log_stream.write(text + "\n")
            self.log_stream.flush()

    @contextmanager
    def logging_to(self, path: Path) -> Iterator[None]:
        """Write everything to a log file as well, as long as this lasts; a log within a log takes its place."""
        before = self.log_stream
        with path.open("w", encoding="utf-8") as stream:
            self.log_stream = stream
            try:
                yield
            except BuildError as error:
                with suppress(OSError):  # a full disk takes no more; the failure is what matters
                    self.log(f"error: {error.message}")
                raise
            except Exception:
                with suppress(OSError):
                    self.log(traceback.format_exc())
                raise
            finally:
                self.log_stream = before

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
        row = self.prefix.strip()
        lines = []
        if isinstance(error, CommandFailed):
            lines += [f"    [dim]{escape(self.prefix + text[:_TAIL_WIDTH])}[/]" for text in error.tail]
        for text in error.message.splitlines():
            named = text if text.startswith(row) else f"{row}: {text}"
            lines.append(f"[red]error:[/] {escape(named)}")
        if error.hint:
            lines.append(f"[cyan]hint:[/] {escape(error.hint)}")
        self._err.print("\n".join(lines))  # at once, for other rows print as well

    @contextmanager
    def board(self) -> Iterator[Callable[[str], None]]:
        """Share one live display among the consoles that ``for_row`` makes meanwhile.

        What is yielded sets the line on top of it.
        """
        if not self.live or self.quiet:
            yield lambda _: None
            return
        with _make_progress(self._err) as board:
            top = board.add_task("", total=None, detail="")
            self._board = board
            try:
                yield lambda text: board.update(top, description=escape(text))
            finally:
                self._board = None

    @contextmanager
    def _task(self, title: str) -> Iterator[tuple[Progress, TaskID]]:
        """Show a line that lives as long as this lasts: on the board, or alone."""
        if self._board is not None:
            task = self._board.add_task(escape(title), total=None, detail="")
            try:
                yield self._board, task
            finally:
                self._board.remove_task(task)
            return
        with _make_progress(self._err) as progress:
            yield progress, progress.add_task(escape(title), total=None, detail="")

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        """Time one stage and show that it runs, how long it took and how it ended."""
        self.stage = name
        started = time.monotonic()
        self.log(f"==> {title}")
        step = Step(self, title)
        try:
            self.children.check()
            if self.live and not self.quiet:
                with self._task(title) as (step.progress, step.task):
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
