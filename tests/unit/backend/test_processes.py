from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from triton_vllm import processes

# A leader of a group with an engine of two ranks, which vLLM calls so; it watches over them.
ENGINE = """
import os, subprocess, sys, time
from triton_vllm.worker.ranks import Ranks
ranks = ["bash", "-c", "for i in 0 1; do (exec -a VLLM::Worker_TP$i sleep 60) & echo $!; done; sleep 60"]
core = subprocess.Popen(ranks, stdout=subprocess.PIPE, text=True)
print(core.pid, *(core.stdout.readline().strip() for _ in range(2)), flush=True)
time.sleep(0.3)
watch = Ranks(os.getpid())
if "stop" in sys.argv:
    watch.stop()
watch.watch(0.02)
print("watched", flush=True)
time.sleep(60)
"""
BACKEND = Path(processes.__file__).parents[1]
# A leader of a group with a child; "orphan" makes it watch over the stub and server it is told.
LEADER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
if len(sys.argv) > 1:
    from triton_vllm.worker import orphans
    orphans.watch(int(sys.argv[1]), int(sys.argv[2]), 0.02)
time.sleep(60)
"""


def wait_gone(pids: list[int], timeout: float) -> list[int]:
    """Wait until the processes are gone or zombies. Returns those that are left."""
    deadline = time.monotonic() + timeout
    left = [pid for pid in pids if processes.is_running(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if processes.is_running(pid)]
    return left


class Family:
    """A process that leads a group, and its child."""

    def __init__(self, *arguments: int) -> None:
        self.leader = subprocess.Popen(
            [sys.executable, "-c", LEADER, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=BACKEND,
        )
        assert self.leader.stdout is not None
        self.child = int(self.leader.stdout.readline())

    @property
    def pids(self) -> list[int]:
        return [self.leader.pid, self.child]

    def end(self) -> None:
        processes.kill(self.pids)
        self.leader.communicate()


@pytest.fixture
def family() -> Iterator[Family]:
    family = Family()
    yield family
    family.end()


@pytest.fixture
def stub() -> Iterator[subprocess.Popen[bytes]]:
    """Something that stands for Triton's stub; its server is this process."""
    stub = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    yield stub
    stub.kill()
    stub.wait()


def test_a_group_is_found_and_killed_even_without_its_leader(family: Family) -> None:
    assert sorted(processes.find_group(family.leader.pid)) == sorted(family.pids)
    family.leader.kill()
    family.leader.wait()
    assert processes.find_group(family.leader.pid) == [family.child]
    processes.kill([family.child])
    assert wait_gone([family.child], timeout=5) == []


def test_processes_that_stay_are_named(family: Family) -> None:
    assert wait_gone(family.pids, timeout=0.05) == family.pids


def test_nothing_is_known_of_a_process_that_is_gone(stub: subprocess.Popen[bytes]) -> None:
    assert processes.parent_of(stub.pid) == os.getpid()
    stub.kill()
    stub.wait()
    assert processes.parent_of(stub.pid) is None
    assert not processes.is_running(stub.pid)


def test_a_worker_whose_stub_was_killed_ends_with_its_group(stub: subprocess.Popen[bytes]) -> None:
    family = Family(os.getpid(), stub.pid)
    assert wait_gone(family.pids, timeout=0.3) == family.pids
    # It stays a zombie until the server, which is this process, asks for it.
    os.kill(stub.pid, 9)
    assert wait_gone(family.pids, timeout=5) == []
    family.end()


def test_a_worker_ends_a_stub_that_lost_its_server(stub: subprocess.Popen[bytes]) -> None:
    family = Family(1, stub.pid)
    assert wait_gone([stub.pid, *family.pids], timeout=5) == []
    family.end()


@pytest.fixture(params=["", "stop"])
def engine(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE, request.param],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=BACKEND,
    )
    yield engine
    processes.kill(processes.find_group(engine.pid))
    engine.communicate()


@pytest.mark.parametrize("engine", [""], indirect=True)
def test_death_of_one_rank_ends_the_other_and_the_engine(engine: subprocess.Popen[str]) -> None:
    assert engine.stdout is not None
    core, first, second = map(int, engine.stdout.readline().split())
    time.sleep(0.5)
    assert wait_gone([core, first, second], timeout=0.3) == [core, first, second]
    processes.kill([second])
    assert wait_gone([core, first, second], timeout=5) == []
    assert processes.is_running(engine.pid)


@pytest.mark.parametrize("engine", ["stop"], indirect=True)
def test_ranks_of_an_engine_that_is_being_stopped_may_end(engine: subprocess.Popen[str]) -> None:
    assert engine.stdout is not None
    core, first, second = map(int, engine.stdout.readline().split())
    assert engine.stdout.readline().strip() == "watched"
    assert wait_gone([core, first, second], timeout=0.3) == [core, first, second]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("tritonserver --model-repository=/models", False),
        ("/opt/tritonserver/bin/tritonserver --model-control-mode=explicit --load-model=a", True),
        ("tritonserver --model-control-mode explicit", True),
        ("tritonserver --model-control-mode=poll", False),
        ("python3 in_process.py", True),
    ],
)
def test_server_that_takes_orders_is_told_from_one_that_does_not(command: str, expected: bool) -> None:
    name, *arguments = command.split()
    # A shell that reads its script from a pipe takes any arguments.
    with subprocess.Popen(
        ["bash", "-c", 'exec -a "$0" sh -s -- "$@"', name, *arguments], stdin=subprocess.PIPE
    ) as server:
        deadline = time.monotonic() + 5
        while not processes.title_of(server.pid).startswith(name.encode()) and time.monotonic() < deadline:
            time.sleep(0.02)
        found = processes.loads_on_demand(server.pid)
        server.kill()
    assert found == expected
