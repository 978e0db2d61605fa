"""A row built twice from nothing gives the same image; takes as long as two cold builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.rows import default_row
from tritonbuild.console import Console
from tritonbuild.imagediff import report_lines
from tritonbuild.pipeline import BuildOptions
from tritonbuild.reproducing import reproduce_row


@pytest.mark.timeout(3600)
def test_two_builds_of_a_row_give_the_same_layers(tmp_path: Path) -> None:
    """Each in a folder and with a umask of its own."""
    difference = reproduce_row(default_row(), BuildOptions(build_dir=tmp_path), Console())
    assert difference.is_empty, "\n".join(report_lines(difference))
    assert difference.layers[0] == difference.layers[1]
