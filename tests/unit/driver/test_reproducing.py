"""A row is built twice from nothing, and nothing but a difference stays behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import reproducing
from tritonbuild.console import Console
from tritonbuild.imagediff import ImageDifference
from tritonbuild.pipeline import BuildOptions
from tritonbuild.reproducing import reproduce_row
from tritonbuild.spec import BuildSpec

SAME = ImageDifference(
    images=("a", "b"), ids=("1", "2"), layers=((), ()), settings={}, packages={}, paths=(), owners={}
)
FIRST, SECOND = (f"tritonbuild-reproduce:24.08-cpu-pypi-{number}" for number in (1, 2))


class World:
    """Stands in for builds, the engine and the comparison; notes what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.builds: list[tuple[BuildOptions, int]] = []
        self.compared: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.difference = SAME
        monkeypatch.setattr(reproducing, "build_row", self._build)
        monkeypatch.setattr(reproducing, "connect", lambda: None)
        monkeypatch.setattr(reproducing, "compare_images", self._compare)
        monkeypatch.setattr(reproducing, "untag_image", lambda _, name: self.removed.append(name))

    def _build(self, spec: BuildSpec, options: BuildOptions, console: Console) -> None:
        mask = os.umask(0)
        os.umask(mask)
        self.builds.append((options, mask))

    def _compare(self, client: object, first: str, second: str) -> ImageDifference:
        self.compared.append((first, second))
        return self.difference


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_two_builds_share_neither_cache_nor_folder_nor_umask(
    world: World, cpu: BuildSpec, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        reproduce_row(cpu, BuildOptions(build_dir=tmp_path, wheelhouses=[tmp_path]), Console(quiet=True))
        assert os.umask(0o027) == 0o027, "the umask of the process was not restored"
    finally:
        os.umask(before)
    (first, mask), (second, other_mask) = world.builds
    assert first.no_cache
    assert second.no_cache
    assert first.wheelhouses == second.wheelhouses == [tmp_path]
    assert first.build_dir != second.build_dir
    assert mask != other_mask
    assert (first.tags, second.tags) == ((FIRST,), (SECOND,))
    assert world.compared == [(FIRST, SECOND)]


def test_images_that_are_the_same_are_removed(world: World, cpu: BuildSpec) -> None:
    assert reproduce_row(cpu, BuildOptions(), Console(quiet=True)).is_empty
    assert world.removed == [FIRST, SECOND]


def test_images_that_differ_stay(world: World, cpu: BuildSpec) -> None:
    world.difference = replace(SAME, settings={"user": ("a", "b")})
    assert not reproduce_row(cpu, BuildOptions(), Console(quiet=True)).is_empty
    assert world.removed == []


def test_a_published_image_is_compared_with_one_build_and_stays(world: World, cpu: BuildSpec) -> None:
    reproduce_row(cpu, BuildOptions(), Console(quiet=True), against="registry.example/triton:24.08")
    assert len(world.builds) == 1
    assert world.compared == [("registry.example/triton:24.08", FIRST)]
    assert world.removed == [FIRST]


def test_an_unknown_row_is_refused_with_the_nearest(run_cli: Callable[..., Any]) -> None:
    run_cli("reproduce", "24.08-cpu-pipi").assert_refused(2, error="24.08-cpu-pipi", hint="24.08-cpu-pypi")
