"""A release that is broken at any request ends in one error or recovers, and the next run finishes it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from tests.release.conftest import Ending, Release
from tests.release.proxy import Fault, Proxy
from tests.release.test_release import FIXED, TAGS
from tritonbuild import cli

KINDS: tuple[Fault, ...] = ("500", "reset", "kill", "denied", "cut", "503")
# What 'denied' may end with, apart from success: some requests only look whether something is there.
REFUSED, FAILED, UNREACHABLE = 21, 20, 15
KILLED = -9


def requests_of(release: Release, proxy: Proxy) -> int:
    """Return how many requests a release makes that nothing disturbs."""
    proxy.expect({})
    ending = release.run()
    assert ending.code == 0, ending.err
    return len(proxy.seen)


def run_with(release: Release, proxy: Proxy, faults: dict[int, Fault]) -> Ending:
    proxy.expect(faults)
    process = release.start()
    proxy.victim = process.pid
    out, err = process.communicate(timeout=240)
    return Ending(process.returncode, out, err)


def finish(release: Release, proxy: Proxy) -> None:
    """Run it once more, undisturbed: all is there, and nothing that is wrong."""
    proxy.expect({})
    ending = release.run()
    assert ending.code == 0, ending.err
    tags = release.tags()
    assert sorted(tags) == sorted(TAGS)
    assert len(set(tags.values())) == 1
    release.assert_only_right_tags()
    assert cli.main(["verify", f"{release.registry.host}/{release.path}:{FIXED}"]) == 0


def test_every_request_of_a_release_may_fail_once(
    new_release: Callable[..., Release], proxy: Proxy, told: Callable[[str], None]
) -> None:
    count = requests_of(new_release(proxy.host), proxy)
    assert count >= 20, proxy.seen
    kinds = itertools.cycle(KINDS)
    # Twice over, so that most requests meet two kinds of trouble.
    for number in [*range(1, count + 1), *range(1, count + 1)]:
        kind = next(kinds)
        release = new_release(proxy.host)
        ending = run_with(release, proxy, {number: kind})
        release.assert_only_right_tags()
        where = f"{kind} at request {number}, {proxy.seen[number - 1 : number]}"
        if kind == "kill":
            assert ending.code in (0, KILLED), where
        else:
            assert ending.code in (0, REFUSED, FAILED, UNREACHABLE), f"{where}: {ending.err}"
            assert len(ending.errors) == len(ending.hints) == (ending.code != 0), f"{where}: {ending.err}"
        told(f"{where}: {ending.code}")
        finish(release, proxy)


def test_a_registry_that_stays_away_is_named(new_release: Callable[..., Release], proxy: Proxy) -> None:
    release = new_release(proxy.host)
    ending = run_with(release, proxy, dict.fromkeys(range(1, 2000), "reset"))
    assert ending.code == UNREACHABLE
    assert proxy.host in ending.errors[0]
    assert release.tags() == {}
    finish(release, proxy)


def test_two_releases_of_a_row_at_once_are_told_apart(
    new_release: Callable[..., Release], proxy: Proxy
) -> None:
    release = new_release(proxy.host)
    proxy.expect({})
    first = release.start()
    while not list(release.build_dir.glob("releases/*/*/lock")):
        assert first.poll() is None
        time.sleep(0.01)
    second = release.run()
    assert first.wait(120) == 0
    first.communicate()
    assert second.code in (0, 13)
    finish(release, proxy)
