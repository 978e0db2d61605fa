"""What the documentation must not forget."""

from __future__ import annotations

import re

import pytest

from tritonbuild.cli.parsing import make_parser
from tritonbuild.errors import BuildError
from tritonbuild.identifiers import SOURCES
from tritonbuild.matrix import Matrix
from tritonbuild.paths import ROOT

CODES = sorted({0, 130, BuildError.exit_code, *(kind.exit_code for kind in BuildError.__subclasses__())})


@pytest.fixture(scope="module")
def documentation() -> str:
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


@pytest.mark.parametrize("verb", sorted(make_parser()[1]))
def test_every_verb_is_documented(documentation: str, verb: str) -> None:
    assert re.search(rf"build\.py {verb}\b", documentation)


@pytest.mark.parametrize("code", CODES)
def test_every_exit_code_is_documented(documentation: str, code: int) -> None:
    """In the section, or sections, whose heading speaks of exit codes."""
    sections = re.findall(
        r"^#+ .*exit codes?.*\n((?:(?!#).*\n)+)", documentation, re.MULTILINE | re.IGNORECASE
    )
    assert re.search(rf"(?<![\w.]){code}(?![\w.])", "\n".join(sections)), "no section on exit codes names it"


def _flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def _known_flags(*verbs: str) -> set[str]:
    parsers = make_parser()[1]
    flags = {flag for verb in verbs or parsers for flag in parsers[verb].known_flags()}
    return {flag for flag in flags if flag.startswith("--")} - {"--help"}


COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def test_every_flag_of_a_build_is_on_the_page_of_the_command_line() -> None:
    assert _known_flags("build") - _flags_in(COMMAND_LINE) == set()


def test_every_flag_of_every_verb_is_documented(documentation: str) -> None:
    assert _known_flags() - _flags_in(documentation) == set()


def test_the_page_of_the_command_line_names_no_flag_that_is_none() -> None:
    assert _flags_in(COMMAND_LINE) - _known_flags() == set()


def test_the_readme_shows_every_row(matrix: Matrix) -> None:
    """Each release is one line of its table, so that this table stays readable."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in lines if re.match(r"\| 2\d\.\d\d \|", line)]
    expected = []
    for release, facts in matrix.releases.items():
        sources: dict[str, list[str]] = {"cpu": [], "cuda": []}
        for row in matrix.rows():
            if row.release == release:
                sources[row.variant].append(row.source)
        cells = [
            *(release, facts.triton),
            *(", ".join(sorted(found, key=SOURCES.index)) or "-" for found in sources.values()),
            *(facts.vllm.public, facts.vllm.ngc or "-"),
        ]
        expected.append(f"| {' | '.join(cells)} |")
    assert shown == expected


def test_every_key_of_versions_yaml_is_explained(documentation: str) -> None:
    """The error of a malformed versions.yaml sends people to docs/versions.md."""
    text = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    assert not [key for key in Matrix.model_fields if f"`{key}`" not in text]


def test_what_each_triton_lacks_is_documented_as_versions_yaml_says(matrix: Matrix) -> None:
    text = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    for name, ability in matrix.abilities.items():
        assert f"| `{name}` | {ability.since} | {ability.gives} | {ability.otherwise} |" in text


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if not page.is_file():
            continue
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE)) - {"venv"}
    assert targets >= {"help", "image", "test", "lint", "render", "lock", "clean"}
    assert targets == set(re.findall(r"^([a-z-]+):.*## \S", text, flags=re.MULTILINE))
