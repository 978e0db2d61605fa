"""Many rows, several at a time: who goes first, who follows, and what became of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from tritonbuild.console import Console
from tritonbuild.engine import asking_engine
from tritonbuild.errors import as_build_error
from tritonbuild.identifiers import BuildId
from tritonbuild.pipeline import BuildOptions, BuildResult, Made, build_row
from tritonbuild.spec import BuildSpec

Ending: TypeAlias = Made | Literal["failed", "interrupted", "not started"]

# Stages that a further release of the same engine does not cost: they prove, or wait for others.
_NOT_ITS_OWN = ("smoke", "wait", "compress")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one row."""

    spec: BuildSpec
    ending: Ending
    stage: str = ""
    """The stage that failed or was interrupted."""
    elapsed: float = 0.0
    """Seconds from the start of the row to its end, smoke tests and waiting included."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds of each stage."""
    result: BuildResult | None = None
    error: Exception | None = None

    @property
    def own_seconds(self) -> float:
        """What this row adds to the time of the rows before it, smoke tests apart."""
        return sum(value for stage, value in self.seconds.items() if stage not in _NOT_ITS_OWN)


class _Queue:
    """Hands out rows in their order; of those that share their expensive layers one goes ahead alone."""

    def __init__(self, specs: Sequence[BuildSpec], workers: int) -> None:
        self._waiting = list(specs)
        self._workers = workers
        self._leaders: dict[tuple[str, ...], BuildSpec] = {}
        self._there: set[tuple[str, ...]] = set()
        self._changed = threading.Condition()
        self._opened, self._closed = False, False

    def _next(self) -> BuildSpec | None:
        free = (s for s in self._waiting if s.sharing in self._there or s.sharing not in self._leaders)
        return next(free, None)

    def take(self) -> BuildSpec | None:
        """Wait for a row that may start; None when none is left."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._opened and (not self._waiting or self._next() is not None))
            )
            spec = None if self._closed else self._next()
            if spec is not None:
                self._waiting.remove(spec)
                self._leaders.setdefault(spec.sharing, spec)
            return spec

    def layers_are_there(self, spec: BuildSpec) -> None:
        with self._changed:
            self._there.add(spec.sharing)
            self._changed.notify_all()

    def is_over(self, spec: BuildSpec) -> None:
        """Let the next one lead where the leader ended without leaving its layers."""
        with self._changed:
            if self._leaders.get(spec.sharing) is spec:
                del self._leaders[spec.sharing]
            self._changed.notify_all()

    def open(self) -> None:
        """Begin to hand out rows."""
        with self._changed:
            self._opened = True
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more rows."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def leave(self) -> None:
        """Say that a worker ends."""
        with self._changed:
            self._workers -= 1
            self._changed.notify_all()

    def wait_for_workers(self) -> None:
        """Wait until all have left. Thread.join, once interrupted, takes a running thread for ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._workers == 0)


class Work(Protocol):
    """What is done with each row; it calls ``built`` once the engine has the row's layers."""

    def __call__(self, spec: BuildSpec, console: Console, /, *, built: Callable[[], None]) -> BuildResult: ...


def _attempt(spec: BuildSpec, work: Work, console: Console, queue: _Queue) -> Outcome:
    started = time.monotonic()

    def outcome(ending: Ending, **found: Any) -> Outcome:
        elapsed = time.monotonic() - started
        return Outcome(spec=spec, ending=ending, elapsed=elapsed, seconds=dict(console.seconds), **found)

    try:
        with asking_engine():
            result = work(spec, console, built=lambda: queue.layers_are_there(spec))
    except KeyboardInterrupt:
        return outcome("interrupted", stage=console.stage)
    except Exception as error:
        return outcome("failed", stage=console.stage, error=error)
    finally:
        queue.is_over(spec)
    return outcome(result.ending, result=result)


def build_rows(
    specs: Sequence[BuildSpec], options: BuildOptions, console: Console, *, jobs: int = 1
) -> list[Outcome]:
    """Build rows, see ``run_rows``."""

    def build(spec: BuildSpec, own: Console, /, *, built: Callable[[], None]) -> BuildResult:
        return build_row(spec, options, own, built=built)

    return run_rows(specs, build, console, jobs=jobs)


def run_rows(specs: Sequence[BuildSpec], work: Work, console: Console, *, jobs: int = 1) -> list[Outcome]:
    """Do the same with rows, ``jobs`` at a time; return what became of each, in the order of ``specs``.

    A failure is an outcome like any other and stops no other row. Ctrl-C ends all that runs, and
    ``console.children.stopping`` tells that it came.
    """
    workers = min(jobs, len(specs))
    queue = _Queue(specs, workers)
    outcomes: dict[BuildId, Outcome] = {}
    several = len(specs) > 1

    def build_next() -> bool:
        spec = queue.take()
        if spec is None:
            return False
        own = console.for_row(spec.name if several else "")
        outcomes[spec.row] = outcome = _attempt(spec, work, own, queue)
        show(f"{len(outcomes)} of {len(specs)} rows done")
        if several and outcome.error:
            own.error(as_build_error(outcome.error))
        return True

    def work_on() -> None:
        try:
            while build_next():
                pass
        finally:
            queue.leave()

    # Daemons, so that a second Ctrl-C ends the process whatever they wait for.
    threads = [threading.Thread(target=work_on, daemon=True) for _ in range(workers)]
    with console.board() if several else nullcontext(lambda _: None) as show:
        show(f"{len(specs)} rows")
        for thread in threads:
            thread.start()
        try:
            queue.open()  # not before all have started, for Ctrl-C in the middle of that would lose some
            queue.wait_for_workers()
        except KeyboardInterrupt:
            queue.close()
            _stop(console, queue)
    return [outcomes.get(spec.row, Outcome(spec=spec, ending="not started")) for spec in specs]


def _stop(console: Console, queue: _Queue) -> None:
    console.warn("interrupted: ending what runs; once more ends it at once")
    try:
        console.children.stop()
        queue.wait_for_workers()
    except KeyboardInterrupt:
        console.children.kill()


def is_interrupted(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether Ctrl-C left rows unfinished."""
    return any(outcome.ending in ("interrupted", "not started") for outcome in outcomes)
