"""Whether a row, built from nothing, gives the same image again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tritonbuild.console import Console
from tritonbuild.engine import connect, untag_image
from tritonbuild.imagediff import ImageDifference, compare_images
from tritonbuild.paths import BUILD
from tritonbuild.pipeline import BuildOptions, build_row
from tritonbuild.spec import BuildSpec

# The second build runs as that of a user who shares nothing with others.
_UMASKS = (0o022, 0o077)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def reproduce_row(
    spec: BuildSpec, options: BuildOptions, console: Console, *, against: str | None = None
) -> ImageDifference:
    """Build ``spec`` without any cache, twice, and return where the images differ.

    Each build has a folder and a umask of its own. With ``against``, the name of an image that the
    engine has, one build is compared with that. What was built is removed unless it differs.
    """
    names = []
    for number, mask in enumerate(_UMASKS[: 1 if against else 2], start=1):
        name = f"tritonbuild-reproduce:{spec.row}-{number}"
        folder = (options.build_dir or BUILD) / "reproduce" / str(number)
        with _umask(mask):
            own = replace(options, build_dir=folder, tags=(name,), no_cache=True, smoke=False)
            build_row(spec, own, console)
        names.append(name)
    client = connect()
    first, second = (against, names[0]) if against else (names[0], names[1])
    with console.step("compare", f"{spec.row}: compare {first} with {second}"):
        difference = compare_images(client, first, second)
    if difference.is_empty:
        for name in names:
            untag_image(client, name)
    return difference
