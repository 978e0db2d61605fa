from __future__ import annotations

import shutil
from collections.abc import Sequence

import pytest

from tritonbuild import revision
from tritonbuild.errors import CommandFailed


@pytest.mark.parametrize(("changes", "expected"), [("", "c0ffee"), (" M build.py", "c0ffee-dirty")])
def test_the_revision_says_whether_files_differ(
    monkeypatch: pytest.MonkeyPatch, changes: str, expected: str
) -> None:
    def run(argv: Sequence[str], **_: object) -> str:
        return "c0ffee" if "rev-parse" in argv else changes

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(revision, "run", run)
    assert revision.read_revision() == expected


def test_a_checkout_without_git_has_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        message = "not a git repository"
        raise CommandFailed(message)

    monkeypatch.setattr(revision, "run", fail)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert revision.read_revision() == "unknown"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert revision.read_revision() == "unknown"
