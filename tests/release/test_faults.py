"""A release that is broken anywhere ends in one error or recovers, and the next run finishes it.

What was injected and what came of it is left as build/faults.md.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.registry import Registry, running_registry
from tests.release.conftest import Release
from tests.release.engines import OwnEngine
from tests.release.nursery import Ending
from tests.release.proxy import Fault, Proxy, running_proxy
from tests.release.test_release import FIXED, TAGS
from tests.release.tiny import fill_disk

KINDS: tuple[Fault, ...] = ("500", "reset", "kill", "denied", "cut", "503", "429", "401")
# What a broken request may end with, apart from success: others try again, or only look whether something is there.
REFUSED, FAILED, UNREACHABLE, NO_ENGINE, DISK_FULL = 21, 20, 15, 7, 26
KILLED = -9
# Broken releases at the same time; most of what they do is to wait.
AT_ONCE = 4

NewRelease = Callable[..., Release]
Told = Callable[[str, str], None]


def run_with(release: Release, proxy: Proxy, faults: dict[int, Fault], **settings: Any) -> Ending:
    proxy.expect(faults)
    run = release.start(**settings)
    proxy.victim = run.pid
    return run.wait()


def assert_clear(ending: Ending, codes: Sequence[int], where: str) -> None:
    """It went well after all, or ended with one error and one hint."""
    assert ending.code in (0, *codes), f"{where}: {ending.code} {ending.err}"
    if ending.code != KILLED:
        assert len(ending.errors) == len(ending.hints) == (ending.code != 0), f"{where}: {ending.err}"
        assert "unexpected" not in ending.err, f"{where}: {ending.err}"


def finish(release: Release, where: str) -> None:
    """Run it once more, undisturbed: all is there, and nothing that is wrong."""
    release.assert_only_right_tags()
    ending = release.run()
    assert ending.code == 0, f"{where}: {ending.err}"
    tags = release.tags()
    assert sorted(tags) == sorted(TAGS), where
    assert len(set(tags.values())) == 1, where
    release.assert_only_right_tags()
    verified = release.verify(f":{FIXED}")
    assert verified.code == 0, f"{where}: {verified.err}"


def count_requests(release: Release, proxy: Proxy) -> int:
    """Return how many requests a release makes that nothing disturbs."""
    proxy.expect({})
    ending = release.run()
    assert ending.code == 0, ending.err
    return len(proxy.seen)


def outcome_of(ending: Ending) -> str:
    first = {0: "recovered by itself", KILLED: "killed"}.get(ending.code, f"exit code {ending.code}")
    return f"{first}; " + ("nothing to do" if ending.code == 0 else "finished by the next run")


def test_every_request_of_a_release_may_fail_once(
    new_release: NewRelease, registry: Registry, proxy: Proxy, told: Told
) -> None:
    count = count_requests(new_release(proxy.host), proxy)
    assert count >= 20, proxy.seen
    kinds = itertools.cycle(KINDS)
    # Twice over, and one kind further the second time, so that each request meets two kinds of trouble.
    faults = [(n, next(kinds)) for n in (*range(1, count + 1), *range(1, count + 1))]
    if count % len(KINDS) == 0:
        faults[count:] = [(n, KINDS[(n + 2) % len(KINDS)]) for n in range(1, count + 1)]

    def spoil(number: int, kind: Fault) -> tuple[str, str]:
        with running_proxy(registry.host) as own:
            release = new_release(own.host)
            ending = run_with(release, own, {number: kind})
            where = f"{kind} at request {number}, {' '.join(own.seen[number - 1 : number])[:60]}"
            assert_clear(ending, [KILLED] if kind == "kill" else [REFUSED, FAILED, UNREACHABLE], where)
            finish(release, where)
        return where.replace(release.path, "NAME"), outcome_of(ending)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in pool.map(spoil, *zip(*faults, strict=True)):
            told(*line)


@pytest.mark.parametrize(("event", "least"), [("step", 9), ("record", 8)])
def test_a_release_may_be_killed_at_every_step_and_after_every_record(
    new_release: NewRelease, told: Told, event: str, least: int
) -> None:
    def kill(number: int) -> str | None:
        release = new_release()
        ending = release.run(disturb=[event, number, "kill", str(release.build_dir)])
        if ending.code == 0:
            return None  # there are not as many
        where = f"kill at {event} {number}"
        assert_clear(ending, [KILLED], where)
        finish(release, where)
        told(where, outcome_of(ending))
        return where

    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = [where for where in pool.map(kill, range(1, 25)) if where]
    assert least <= len(killed) < 24


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_disk_of_the_build_folder_may_be_full_at_every_step(
    new_release: NewRelease, told: Told, tmp_path: Path
) -> None:
    failed = 0
    for number in range(1, 12):
        with small_disk(tmp_path / f"disk{number}", "256k") as disk:
            release = replace(new_release(), build_dir=disk / "build")
            ending = release.run(disturb=["step", number, "fill", str(disk)])
            where = f"build folder's disk full at step {number}"
            assert_clear(ending, [DISK_FULL], where)
            failed += ending.code == DISK_FULL
            (disk / "filler").unlink(missing_ok=True)
            finish(release, where)
            told(where, outcome_of(ending))
    assert failed >= 5


@pytest.mark.parametrize("part", ["first blob", "evidence", "tags"])
def test_the_disk_of_the_registry_may_be_full(
    engine: Any, new_release: NewRelease, told: Told, tmp_path: Path, part: str
) -> None:
    """Debian's registry leaves empty files when its disk is full, which somebody has to remove."""
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        running_registry(engine, disk) as registry,
        running_proxy(registry.host) as proxy,
    ):
        count = count_requests(replace(new_release(proxy.host), registry=registry), proxy)
        writes = [n for n in range(1, count + 1) if proxy.seen[n - 1].startswith(("POST", "PUT"))]
        number = {"first blob": writes[0], "evidence": writes[len(writes) // 2], "tags": writes[-3]}[part]
        release = replace(new_release(proxy.host), registry=registry)
        ending = run_with(release, proxy, {number: lambda: fill_disk(disk)}, attempts=1)
        where = f"registry's disk full at its {part}"
        assert ending.code in (FAILED, UNREACHABLE), f"{where}: {ending.code} {ending.err}"
        assert len(ending.errors) == len(ending.hints) == 1, ending.err
        release.assert_only_right_tags()
        (disk / "filler").unlink()
        # Never promoted beside evidence that cannot be read: it works, or says so.
        second = release.run(attempts=2)
        assert_clear(second, [FAILED, UNREACHABLE], where)
        if second.code == 0:
            assert release.verify(f":{FIXED}").code == 0, where
        for file in disk.rglob("*"):
            if file.is_file() and file.stat().st_size == 0:
                file.unlink()
        finish(release, where)
        told(where, outcome_of(ending) + ("" if second.code == 0 else " after empty files were removed"))


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "stays away"])
@pytest.mark.parametrize("phase", ["push", "pull"])
def test_the_engine_may_die_while_it_pushes_or_pulls(
    own_engine: OwnEngine | None,
    new_release: NewRelease,
    proxy: Proxy,
    told: Told,
    phase: str,
    comes_back: bool,
) -> None:
    if own_engine is None:
        pytest.skip("no engine of its own could be started, and the one of this machine is not killed")
    count_requests(new_release(proxy.host), proxy)
    pushing = next(n for n, request in enumerate(proxy.seen, start=1) if request.startswith("PATCH"))
    reading = next(n for n, request in enumerate(proxy.seen, start=1) if _reads_blob(request))
    # Right after the configuration and the one layer were read, the engine is told to pull.
    number = pushing if phase == "push" else reading + 2

    def die() -> None:
        own_engine.kill()
        if comes_back:
            own_engine.start()

    release = new_release(proxy.host)
    ending = run_with(release, proxy, {number: die})
    if not comes_back:
        own_engine.start()
    where = f"engine dies in its {phase} and {'comes back' if comes_back else 'stays away'}"
    assert_clear(ending, [] if comes_back else [NO_ENGINE], where)
    assert (ending.code == 0) == comes_back, where
    finish(release, where)
    told(where, outcome_of(ending))


def _reads_blob(request: str) -> bool:
    return request.startswith("GET") and "/blobs/" in request


def test_a_registry_that_stays_away_is_named(new_release: NewRelease, proxy: Proxy, told: Told) -> None:
    release = new_release(proxy.host)
    ending = run_with(release, proxy, dict.fromkeys(range(1, 2000), "reset"))
    assert ending.code in (FAILED, UNREACHABLE)
    assert proxy.host in ending.errors[0]
    assert release.tags() == {}
    proxy.expect({})
    finish(release, "registry away")
    told("reset at every request", outcome_of(ending))


def test_a_registry_that_is_busy_for_a_while_is_waited_for(
    new_release: NewRelease, proxy: Proxy, told: Told
) -> None:
    count = count_requests(new_release(proxy.host), proxy)
    release = new_release(proxy.host)
    ending = run_with(release, proxy, dict.fromkeys(range(count - 3, count), "429"))
    assert ending.code == 0, ending.err
    finish(release, "busy")
    told("429 three times in a row", outcome_of(ending))


def test_two_releases_of_a_row_at_once_are_told_apart(new_release: NewRelease) -> None:
    release = new_release()
    first = release.start()
    while not list(release.build_dir.glob("releases/*/*/lock")):
        assert not first.ended
        time.sleep(0.01)
    second = release.run()
    assert first.wait().code == 0
    assert second.code in (0, 13)
    finish(release, "two at once")


def test_two_machines_may_release_the_same_image_at_once(new_release: NewRelease, tmp_path: Path) -> None:
    release = new_release()
    other = replace(release, build_dir=tmp_path)
    runs = [release.start(), other.start()]
    assert [run.wait().code for run in runs] == [0, 0]
    finish(release, "two machines")
