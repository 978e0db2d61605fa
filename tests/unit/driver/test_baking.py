"""docker-bake.json: it is what versions.yaml says, and what a builder elsewhere relies on in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import baking, cli
from tritonbuild.baking import bake_text, check_bake_file, machine_text, target_name, write_bake_file
from tritonbuild.cli.choosing import default_rows
from tritonbuild.cli.verbs import context
from tritonbuild.errors import StaleError
from tritonbuild.labels import REVISION
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import BAKE_FILE, MATRIX, ROOT
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.tags import image_reference

SpecOf = Callable[[str], BuildSpec]
ROWS = load_matrix(MATRIX).rows()


@pytest.fixture(scope="module")
def bake() -> dict[str, Any]:
    """The committed file."""
    return dict(json.loads(BAKE_FILE.read_text(encoding="utf-8")))


@pytest.fixture
def specs(matrix: Matrix) -> list[BuildSpec]:
    return [resolve_spec(matrix, row) for row in matrix.rows()]


def test_the_committed_file_is_the_rendered_one(matrix: Matrix, specs: list[BuildSpec]) -> None:
    check_bake_file(specs, default_rows(matrix)[0])


def test_a_stale_file_is_named_with_its_remedy(
    matrix: Matrix, specs: list[BuildSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(baking, "BAKE_FILE", tmp_path / "docker-bake.json")
    default = default_rows(matrix)[0]
    with pytest.raises(StaleError, match=r"docker-bake\.json") as failure:
        check_bake_file(specs, default)
    assert "./build.py render" in str(failure.value.hint)
    assert write_bake_file(specs, default)
    assert not write_bake_file(specs, default)
    check_bake_file(specs, default)
    (tmp_path / "docker-bake.json").write_text(bake_text(specs[1:], default), encoding="utf-8")
    with pytest.raises(StaleError):
        check_bake_file(specs, default)


def test_every_row_is_a_target_with_a_name_that_bake_takes(bake: dict[str, Any]) -> None:
    targets = set(bake["target"]) - {"_common"}
    assert targets == {target_name(row) for row in ROWS}
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", name) for name in (*targets, *bake["group"]))


def test_groups_hold_the_rows_of_a_release_a_variant_and_a_source(bake: dict[str, Any]) -> None:
    groups = {name: set(group["targets"]) for name, group in bake["group"].items()}
    expected: dict[str, set[str]] = {"all": set(), "default": {"24_08-cpu-pypi"}}
    for row in ROWS:
        for group in ("all", row.release.replace(".", "_"), row.variant, row.source):
            expected.setdefault(group, set()).add(target_name(row))
    assert groups == expected


@pytest.mark.parametrize("row", [str(row) for row in ROWS])
def test_a_target_builds_what_the_row_says(bake: dict[str, Any], spec_of: SpecOf, row: str) -> None:
    spec = spec_of(row)
    target = bake["target"][target_name(spec.row)]
    assert target["context"] == f"${{CONTEXTS}}/{row}/context"
    assert target["tags"] == ["${REGISTRY}" + image_reference(spec)]
    assert target["labels"][REVISION] == "${REVISION}"
    assert target["labels"]["io.tritonbuild.base"] == spec.base.pinned_ref
    dockerfile = (spec.folder / "Dockerfile").read_text(encoding="utf-8")
    for name, value in target["args"].items():
        if name.endswith("_IMAGE"):  # the same image as the Dockerfile's own default, or its mirror
            default = re.search(rf"^ARG {name}=(\S+)$", dockerfile, flags=re.MULTILINE)
            assert default
            assert f'"{default[1]}"' in value
            assert '"${REGISTRY_MIRROR}/' in value
    assert {name for name in target["args"] if name.endswith("_IMAGE")} == set(
        re.findall(r"^ARG (\w+_IMAGE)=", dockerfile, flags=re.MULTILINE)
    )
    assert target["args"]["SOURCE_DATE_EPOCH"] == str(spec.epoch)


def test_the_cache_is_written_for_a_row_and_read_from_the_rows_that_share_layers(
    bake: dict[str, Any],
) -> None:
    target = bake["target"]["24_09-cuda-pypi"]
    assert target["cache-to"].endswith('["type=registry,ref=${CACHE}:24.09-cuda-pypi,mode=max"]}')
    # 24.08 has the same vLLM, so all layers up to it.
    assert "${CACHE}:24.09-cuda-pypi" in target["cache-from"]
    assert "${CACHE}:24.08-cuda-pypi" in target["cache-from"]
    assert "23.10" not in target["cache-from"]
    assert target["cache-from"].startswith('${CACHE == "" ? [] : [')


def test_the_file_knows_nothing_of_this_machine(bake: dict[str, Any]) -> None:
    text = json.dumps(bake)
    assert str(ROOT) not in text
    assert "secret" not in text


def test_what_only_this_machine_knows_is_laid_over_it() -> None:
    text = machine_text(
        {"ca": Path("/etc/ca.pem")}, revision="c0ffee", environment=["HTTPS_PROXY", "HOME", "no_proxy"]
    )
    assert json.loads(text) == {
        "variable": {
            "REVISION": {"default": "c0ffee"},
            "HTTPS_PROXY": {"default": ""},
            "no_proxy": {"default": ""},
        },
        "target": {
            "_common": {
                "args": {"HTTPS_PROXY": "${HTTPS_PROXY}", "no_proxy": "${no_proxy}"},
                "secret": ["id=ca,src=/etc/ca.pem"],
            }
        },
    }


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verb with its one long step replaced: the rows that it was done for."""
    rows: list[str] = []
    monkeypatch.setattr(context, "stage_row", lambda spec, *_: rows.append(str(spec.row)))
    monkeypatch.setattr(context, "read_revision", lambda: "c0ffee")
    monkeypatch.setattr(context, "collect_secrets", lambda *_, **__: {"ca": Path("ca.pem")})
    return rows


def test_context_gathers_rows_and_says_what_to_run(
    staged: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["context", "24.0[89]-cpu-p*", "--build-dir", str(tmp_path)]) == 0
    assert staged == ["24.08-cpu-pypi", "24.09-cpu-pypi"]
    line = f"docker buildx bake -f docker-bake.json -f {tmp_path}/bake.json 24_08-cpu-pypi 24_09-cpu-pypi"
    assert capsys.readouterr().out.strip() == f"CONTEXTS={tmp_path} {line}"
    written = json.loads((tmp_path / "bake.json").read_text(encoding="utf-8"))
    assert written["target"]["_common"]["secret"] == [f"id=ca,src={Path('ca.pem').absolute()}"]
