"""Edits of YAML text: the value changes, and nothing else does."""

from __future__ import annotations

import pytest
import yaml

from tritonbuild.paths import MATRIX
from tritonbuild.yamledit import Edit, Rename, apply_edits

TEXT = """\
# A comment above.
engines:
  a-1.0:                # beside a key
    version: "1.0"      # beside a value
    reason: A text that is too long for one line,
      and goes on here.
  b-1.0: {version: 1.0.0}
images:
  cpu: {engine: a-1.0, base: bookworm}
  cuda:
    engine: b-1.0
    note: a-1.0
bases:
  bookworm:
    ref: debian:bookworm   # the tag
    suite: bookworm
"""


def _changed(*edits: Edit | Rename) -> list[tuple[str, str]]:
    """Return (before, after) of the lines that changed; the number of lines must be the same."""
    after = apply_edits(TEXT, edits)
    pairs = zip(TEXT.splitlines(), after.splitlines(), strict=True)
    return [(old, new) for old, new in pairs if old != new]


def test_a_value_changes_in_place_with_its_quotes_and_comment() -> None:
    assert _changed(Edit(path=("engines", "a-1.0", "version"), value="1.1")) == [
        ('    version: "1.0"      # beside a value', '    version: "1.1"      # beside a value')
    ]
    assert _changed(Edit(path=("engines", "b-1.0", "version"), value="1.1.0")) == [
        ("  b-1.0: {version: 1.0.0}", "  b-1.0: {version: 1.1.0}")
    ]


def test_a_rename_reaches_every_reference_and_nothing_that_only_looks_like_one() -> None:
    assert _changed(Rename(table="engines", reference="engine", old="a-1.0", new="a-2.0")) == [
        ("  a-1.0:                # beside a key", "  a-2.0:                # beside a key"),
        ("  cpu: {engine: a-1.0, base: bookworm}", "  cpu: {engine: a-2.0, base: bookworm}"),
    ]


def test_edits_see_what_the_ones_before_them_did() -> None:
    after = apply_edits(
        TEXT,
        [
            Rename(table="engines", reference="engine", old="a-1.0", new="a-2.0"),
            Edit(path=("engines", "a-2.0", "version"), value="2.0"),
        ],
    )
    assert yaml.safe_load(after)["engines"]["a-2.0"]["version"] == "2.0"


def test_a_key_that_is_missing_comes_behind_the_named_one() -> None:
    after = apply_edits(TEXT, [Edit(path=("bases", "bookworm", "digest"), value="sha256:00", after="ref")])
    line = "    ref: debian:bookworm   # the tag\n"
    assert after == TEXT.replace(line, f"{line}    digest: sha256:00\n")


def test_a_mapping_that_is_missing_is_begun_and_then_goes_on() -> None:
    first = Edit(path=("bases", "bookworm", "digests", "24.08"), value="sha256:00", after="ref")
    second = Edit(path=("bases", "bookworm", "digests", "24.10"), value="sha256:11", after="ref")
    after = apply_edits(TEXT, [first, second])
    line = "    ref: debian:bookworm   # the tag\n"
    assert after == TEXT.replace(
        line, f'{line}    digests:\n      "24.08": sha256:00\n      "24.10": sha256:11\n'
    )
    assert yaml.safe_load(after)["bases"]["bookworm"]["digests"] == {
        "24.08": "sha256:00",
        "24.10": "sha256:11",
    }


@pytest.mark.parametrize(
    "edit",
    [
        Rename(table="engines", reference="engine", old="c", new="d"),
        Edit(path=("engines", "a-1.0"), value="a scalar for a mapping"),
        Edit(path=("engines", "b-1.0", "cutoff"), value="into a flow mapping"),
        Edit(path=("bases", "bookworm", "ref", "deeper"), value="x"),
    ],
)
def test_what_has_no_place_is_an_error(edit: Edit | Rename) -> None:
    with pytest.raises(KeyError):
        apply_edits(TEXT, [edit])


def test_no_edit_leaves_versions_yaml_as_it_is() -> None:
    text = MATRIX.read_text(encoding="utf-8")
    assert apply_edits(text, []) == text
    release = yaml.safe_load(text)["defaults"]["release"]
    assert apply_edits(text, [Edit(path=("defaults", "release"), value=release)]) == text
