from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from triton_vllm import guard, processes

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process and the number of its child."""
    with subprocess.Popen([sys.executable, "-S", "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        yield parent, child
        processes.kill([parent.pid, child])


def test_descendants_are_found_and_killed(family: tuple[subprocess.Popen[str], int]) -> None:
    parent, child = family
    assert processes.find_descendants(parent.pid) == [child]
    assert parent.pid in processes.find_descendants(os.getpid())
    assert child in processes.find_descendants(os.getpid())
    assert processes.parent_of(parent.pid) == os.getpid()
    processes.kill([parent.pid, child])
    assert processes.wait_gone([parent.pid, child], timeout=5) == []


def test_processes_that_stay_are_named(family: tuple[subprocess.Popen[str], int]) -> None:
    parent, child = family
    assert processes.wait_gone([parent.pid, child], timeout=0.05) == [parent.pid, child]


def test_nothing_is_known_of_a_process_that_is_gone(family: tuple[subprocess.Popen[str], int]) -> None:
    parent, _ = family
    parent.kill()
    parent.wait()
    assert processes.parent_of(parent.pid) is None
    assert processes.identity(parent.pid) == ""
    assert not processes.is_running(parent.pid)


def run_guard(server: int, stub: int) -> threading.Thread:
    thread = threading.Thread(target=guard.watch, args=(server, stub, 0.02), daemon=True)
    thread.start()
    return thread


def test_the_guard_ends_what_a_killed_stub_leaves(family: tuple[subprocess.Popen[str], int]) -> None:
    stub, engine = family
    thread = run_guard(os.getpid(), stub.pid)
    time.sleep(0.1)
    assert thread.is_alive()
    assert processes.is_running(engine)
    # It stays a zombie until the server, which is this process, asks for it.
    os.kill(stub.pid, 9)
    assert processes.wait_gone([engine], timeout=5) == []
    thread.join(5)
    assert not thread.is_alive()


def test_the_guard_ends_a_stub_that_lost_its_server(family: tuple[subprocess.Popen[str], int]) -> None:
    stub, engine = family
    thread = run_guard(1, stub.pid)
    assert processes.wait_gone([stub.pid, engine], timeout=5) == []
    thread.join(5)


def test_the_guard_runs_as_a_script_and_leaves_with_the_stub() -> None:
    process = guard.start_guard()
    assert process is not None
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.wait()
