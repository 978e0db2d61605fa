"""What doctor says of machines that can build, of those that cannot, and that it touches nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from tritonbuild import doctor, reaching
from tritonbuild.buildkit import Builder
from tritonbuild.doctor import (
    bytes_needed,
    check_base_images,
    check_builder,
    check_disk,
    check_engine,
    check_gpu,
)
from tritonbuild.errors import CommandFailed, ToolMissing
from tritonbuild.findings import Finding
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference

Cli = Callable[..., Any]
GB = 1_000_000_000


class Machine:
    """A machine that is in order, until a test breaks something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.engine = {"Version": "28.1.0", "ApiVersion": "1.49"}
        self.engine_failure: ToolMissing | None = None
        self.can_start = False
        self.here: set[str] = set()
        self.registry_failure: Exception | None = None
        self.looked_up: list[str] = []
        self.free = 500 * GB
        self.data = tmp_path / "docker"
        self.data.mkdir()
        self.base_url = "http+docker://localhost"
        self.stopped: list[str] = []
        self.unnamed: list[str] = []
        self.asked: list[tuple[str, Any]] = []
        self.status = 200
        self.tools = {"docker"}
        self.smi = "NVIDIA H100, 550.54.15, 9.0"
        self.client: Any = SimpleNamespace(
            version=lambda: self.engine,
            info=lambda: {"DockerRootDir": str(self.data)},
            api=SimpleNamespace(base_url=self.base_url),
            images=SimpleNamespace(
                get=self._get, get_registry_data=self._look_up, list=lambda **_: self.unnamed
            ),
            containers=SimpleNamespace(list=lambda **_: self.stopped),
        )
        monkeypatch.setattr(doctor, "connect", self._connect)
        monkeypatch.setattr(doctor, "can_start_engine", lambda: self.can_start)
        monkeypatch.setattr(doctor, "find_builder", lambda: Builder(("docker", "buildx", "build")))
        monkeypatch.setattr(doctor, "run", self._run)
        monkeypatch.setattr(doctor, "PID_FILES", ())
        monkeypatch.setattr(reaching.requests, "head", self._head)
        monkeypatch.setattr(shutil, "which", lambda name: name if name in self.tools else None)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=self.free))

    def _connect(self, **_: object) -> Any:
        if self.engine_failure:
            raise self.engine_failure
        return self.client

    def _get(self, name: str) -> object:
        if name not in self.here:
            raise ImageNotFound(name)
        return object()

    def _look_up(self, name: str) -> object:
        self.looked_up.append(name)
        if self.registry_failure:
            raise self.registry_failure
        return SimpleNamespace(id="sha256:1")

    def _head(self, url: str, **options: Any) -> Any:
        self.asked.append((url, options))
        now = dt.datetime.now(dt.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return SimpleNamespace(status_code=self.status, headers={"Date": now}, close=lambda: None)

    def _run(self, argv: list[str]) -> str:
        assert argv[0] == "nvidia-smi"
        if not self.smi:
            message = "nvidia-smi ended with code 9"
            raise CommandFailed(message)
        return self.smi


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@pytest.fixture
def examined(machine: Machine, run_cli: Cli, tmp_path: Path) -> Callable[..., Any]:
    """A function that runs doctor with a build folder of its own."""
    return lambda *words: run_cli("doctor", *words, "--build-dir", str(tmp_path / "build"))


def _levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def _next_release(spec: BuildSpec) -> BuildSpec:
    """A row with the same base and vLLM."""
    return dataclasses.replace(spec, row=dataclasses.replace(spec.row, release="24.09"))


# --- the verb -----------------------------------------------------------------------------


def test_a_machine_in_order_ends_with_code_0_and_only_ok_lines(machine: Machine, examined: Cli) -> None:
    outcome = examined()
    assert outcome.code == 0, outcome.out
    assert outcome.err == ""
    assert {line.split()[0] for line in outcome.out.splitlines()} == {"ok"}
    assert "ok       engine: version 28.1.0 answers (API 1.49)" in outcome.out.splitlines()


def test_nothing_is_written_or_started(machine: Machine, examined: Cli, tmp_path: Path) -> None:
    """Programs and the engine are fakes here; a real start would fail the guard."""
    assert examined("*").writes == ()
    assert not (tmp_path / "build").exists()


def test_a_problem_has_a_code_of_its_own_and_a_remedy_on_its_line(machine: Machine, examined: Cli) -> None:
    machine.free = GB
    outcome = examined()
    assert outcome.code == 14
    assert outcome.errors == ["1 problem found"]
    line = next(line for line in outcome.out.splitlines() if line.startswith("problem  disk: "))
    assert " GB needed, 1.0 GB free in " in line
    assert " -> free some" in line


def test_a_warning_alone_is_no_failure(machine: Machine, examined: Cli) -> None:
    machine.unnamed = ["a", "b"]
    outcome = examined()
    assert outcome.code == 0
    assert "warning  images: 2 without a name" in outcome.out
    assert "docker image prune --filter label=io.tritonbuild.row" in outcome.out


def test_json_holds_rows_levels_and_remedies(machine: Machine, examined: Cli) -> None:
    machine.stopped = ["a"]
    outcome = examined("24.08-c*-pypi", "--json")
    report = json.loads(outcome.out)
    assert report["rows"] == ["24.08-cpu-pypi", "24.08-cuda-pypi"]
    assert all(set(f) == {"level", "subject", "message", "remedy"} for f in report["findings"])
    assert all((f["level"] == "ok") == (f["remedy"] is None) for f in report["findings"])
    assert "containers" in {f["subject"] for f in report["findings"] if f["level"] == "warning"}


def test_without_a_selector_the_row_that_build_would_take_is_examined(
    machine: Machine, examined: Cli
) -> None:
    assert json.loads(examined("--json").out)["rows"] == ["24.08-cpu-pypi"]


def test_a_selector_that_matches_nothing_is_refused(machine: Machine, examined: Cli) -> None:
    examined("24.08-cpu-pipy").assert_refused(4, error="no row", hint="did you mean '24.08-cpu-pypi'?")
    assert machine.asked == []


def test_everything_else_is_examined_though_no_engine_answers(machine: Machine, examined: Cli) -> None:
    machine.engine_failure = ToolMissing("no container engine answers: x", hint="start Docker")
    outcome = examined()
    assert outcome.code == 14
    assert "problem  engine: no container engine answers: x -> start Docker" in outcome.out.splitlines()
    assert {line.split()[1] for line in outcome.out.splitlines()} >= {
        "buildkit:",
        "disk:",
        "index:",
        "clock:",
    }


# --- engine -------------------------------------------------------------------------------


def test_an_engine_that_a_build_would_start_is_no_problem(machine: Machine) -> None:
    machine.engine_failure = ToolMissing("no container engine answers", hint="start Docker")
    machine.can_start = True
    client, findings = check_engine()
    assert client is None
    assert _levels(findings) == ["warning"]


def test_an_engine_that_is_too_old_is_a_problem(machine: Machine) -> None:
    machine.engine = {"Version": "19.03.15", "ApiVersion": "1.40"}
    _, [finding] = check_engine()
    assert finding.level == "problem"
    assert finding.remedy == "install Docker Engine 20.10 or newer"


def test_podman_is_judged_by_its_api(machine: Machine) -> None:
    machine.engine = {"Version": "4.9.3", "ApiVersion": "1.41"}
    assert _levels(check_engine()[1]) == ["ok"]


def test_a_socket_that_may_not_be_used_is_told_from_an_engine_that_is_down(machine: Machine) -> None:
    message = "no container engine answers: ('Connection aborted.', PermissionError(13, 'Permission denied'))"
    machine.engine_failure = ToolMissing(message, hint="start Docker")
    _, [finding] = check_engine()
    assert "join the group" in str(finding.remedy)


def test_a_client_without_buildkit_is_a_problem_unless_a_build_brings_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> None:
        message = "no docker client here can build with BuildKit"
        raise ToolMissing(message, hint="install docker-buildx")

    monkeypatch.setattr(doctor, "find_builder", lacking)
    [finding] = check_builder()
    assert (finding.level, finding.remedy) == ("problem", "install docker-buildx")
    machine.can_start = True
    assert _levels(check_builder()) == ["warning"]
    machine.tools.add("dockerd")  # then docker.io is not installed anew
    assert _levels(check_builder()) == ["problem"]


# --- disk ---------------------------------------------------------------------------------


def test_rows_that_share_their_layers_count_once(cpu: BuildSpec, cuda: BuildSpec) -> None:
    one = bytes_needed([cpu], set())
    assert one >= 2 * cpu.size_budget_mb * 1_000_000
    both = bytes_needed([cpu, _next_release(cpu)], set())
    assert 0 < both - one <= GB
    assert bytes_needed([cpu, cuda], set()) > 2 * one


def test_what_is_built_needs_nothing_more(cpu: BuildSpec) -> None:
    assert bytes_needed([cpu], {cpu.row}) == 0
    assert 0 < bytes_needed([cpu, _next_release(cpu)], {cpu.row}) <= GB


def test_the_engine_is_asked_what_is_built(machine: Machine, cpu: BuildSpec, tmp_path: Path) -> None:
    machine.free = 2 * GB
    assert check_disk(machine.client, [cpu], tmp_path)[0].level == "problem"
    machine.here = {image_reference(cpu)}
    assert check_disk(machine.client, [cpu], tmp_path)[0].level == "ok"


def test_space_that_just_suffices_is_a_warning(machine: Machine, cpu: BuildSpec, tmp_path: Path) -> None:
    machine.free = bytes_needed([cpu], set())
    assert check_disk(machine.client, [cpu], tmp_path)[0].level == "warning"


@pytest.mark.parametrize("base_url", ["https://build-host:2376", "http+docker://localhost"])
def test_the_disk_of_another_machine_is_not_guessed(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, cpu: BuildSpec, tmp_path: Path, base_url: str
) -> None:
    """A remote engine names a folder that exists here too, or, in a virtual machine, does not."""
    machine.client.api.base_url = base_url
    if base_url.startswith("http+docker"):
        machine.data.rmdir()

    def usage(folder: Path) -> Any:
        folder.stat()
        return SimpleNamespace(free=10 * GB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    first, *rest = check_disk(machine.client, [cpu], tmp_path)
    assert first.level == "warning"
    assert "cannot be seen from here" in first.message
    assert [finding.subject for finding in rest] == ["disk of build folder"]


def test_the_disk_of_a_remote_engine_that_is_down_is_not_guessed_either(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, cpu: BuildSpec, tmp_path: Path
) -> None:
    assert check_disk(None, [cpu], tmp_path)[0].level == "ok"
    monkeypatch.setenv("DOCKER_HOST", "tcp://build-host:2376")
    assert check_disk(None, [cpu], tmp_path)[0].level == "warning"


# --- images -------------------------------------------------------------------------------


def test_a_base_image_that_is_here_needs_no_registry(machine: Machine, cpu: BuildSpec) -> None:
    machine.here = {cpu.base.pinned_ref}
    assert _levels(check_base_images(machine.client, [cpu])) == ["ok"]
    machine.here = {"tritonbuild-base:bookworm"}
    assert _levels(check_base_images(machine.client, [cpu])) == ["ok"]
    assert machine.looked_up == []


def test_a_base_image_that_a_build_makes_itself_is_no_problem(machine: Machine, cpu: BuildSpec) -> None:
    machine.registry_failure = APIError("x", explanation="no such host")
    [finding] = check_base_images(machine.client, [cpu])
    assert finding.level == "warning"
    assert "cannot be pulled (no such host)" in finding.message


def test_a_vendor_image_that_cannot_be_had_is_a_problem(
    machine: Machine, spec_of: Callable[[str], BuildSpec]
) -> None:
    machine.registry_failure = APIError("x", explanation="no such host")
    findings = check_base_images(machine.client, [spec_of("24.08-cuda-ngc")])
    assert _levels(findings) == ["problem", "problem"]
    assert "docker login" in str(findings[0].remedy)
    assert len(machine.looked_up) == 1, "a registry that does not answer is waited for once"


def test_a_registry_that_lacks_one_image_is_asked_for_the_next(
    machine: Machine, spec_of: Callable[[str], BuildSpec]
) -> None:
    absent: Any = SimpleNamespace(status_code=404)
    machine.registry_failure = APIError("x", absent, explanation="manifest unknown")
    check_base_images(machine.client, [spec_of("24.08-cuda-ngc")])
    assert len(machine.looked_up) == 2


def test_a_mirror_is_asked_in_place_of_the_vendors_registry(
    machine: Machine, spec_of: Callable[[str], BuildSpec]
) -> None:
    spec = spec_of("24.08-cuda-ngc")
    findings = check_base_images(machine.client, [spec], "mirror.example:5000/ngc")
    assert _levels(findings) == ["ok", "ok"]
    assert {name.partition("/")[0] for name in machine.looked_up} == {"mirror.example:5000"}
    machine.looked_up.clear()
    machine.here = {str(spec.server.pinned_ref), spec.base.pinned_ref}
    assert _levels(check_base_images(machine.client, [spec], "mirror.example:5000/ngc")) == ["ok", "ok"]
    assert machine.looked_up == []


# --- GPUs ---------------------------------------------------------------------------------


def test_cpu_rows_say_nothing_of_gpus(machine: Machine, cpu: BuildSpec) -> None:
    assert check_gpu([cpu]) == []


def test_a_machine_without_gpu_can_still_build(machine: Machine, cuda: BuildSpec) -> None:
    older = dataclasses.replace(cuda, engine=cuda.engine.model_copy(update={"driver_min": "450.80.02"}))
    [finding] = check_gpu([older, cuda])
    assert finding.level == "warning"
    assert finding.remedy == "build here, serve where the driver is 525.60.13 or newer"


@pytest.mark.parametrize(
    ("smi", "level", "words"),
    [
        ("NVIDIA H100, 550.54.15, 9.0", "ok", "driver 550.54.15"),
        ("NVIDIA H100, 525.60.13, 9.0", "ok", "driver 525.60.13"),
        ("NVIDIA H100, 525.60.9, 9.0", "problem", "the row needs 525.60.13"),
        ("Tesla P100, 550.54.15, 6.0", "problem", "compute capability 6.0, the row needs 7.0"),
        ("NVIDIA B200, 580.95.05, 10.0", "ok", "compute capability 10.0"),
        ("", "warning", "nvidia-smi ended with code 9"),
    ],
)
def test_each_gpu_is_compared_with_the_rows_minimum(
    machine: Machine, cuda: BuildSpec, smi: str, level: str, words: str
) -> None:
    machine.tools.add("nvidia-smi")
    machine.smi = smi
    [finding] = check_gpu([cuda])
    assert finding.level == level
    assert words in finding.message


def test_one_gpu_of_two_that_is_too_old_is_found(machine: Machine, cuda: BuildSpec) -> None:
    machine.tools.add("nvidia-smi")
    machine.smi = "NVIDIA H100, 550.54.15, 9.0\nTesla P100, 550.54.15, 6.0"
    assert _levels(check_gpu([cuda])) == ["ok", "problem"]


def test_a_row_without_minimum_asks_for_none(machine: Machine, cuda: BuildSpec) -> None:
    machine.tools.add("nvidia-smi")
    machine.smi = "Tesla P100, 1.0, 1.0"
    free = cuda.engine.model_copy(update={"driver_min": None, "compute_capability_min": None})
    assert _levels(check_gpu([dataclasses.replace(cuda, engine=free)])) == ["ok"]
