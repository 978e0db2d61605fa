from __future__ import annotations

import os
import time
from collections import deque

import pytest
from triton_vllm.startup import OutputTail, explain

LOG = """\
INFO 11-22 17:50:48 [core.py:1] Starting
(EngineCore pid=7) ERROR 11-22 17:50:49 [core.py:98] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-22 17:50:49 [core.py:98] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-22 17:50:49 [core.py:98]   File "x.py", line 1, in <module>
(EngineCore pid=7) ERROR 11-22 17:50:49 [core.py:98] ValueError: No room for the KV cache: 2 GiB are needed.
Traceback (most recent call last):
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_the_reason_is_found_in_what_the_engines_process_wrote() -> None:
    error = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    assert (
        explain(error, deque(LOG.splitlines())) == "ValueError: No room for the KV cache: 2 GiB are needed."
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad\n  dtype"), "bad dtype"),
        (KeyError("architectures"), "KeyError: 'architectures'"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_an_error_that_tells_the_reason_is_taken_as_it_is(error: Exception, text: str) -> None:
    assert explain(error, deque(LOG.splitlines())) == text


def write_while_kept() -> OutputTail:
    with OutputTail() as tail:
        os.write(2, b"one\ntwo\n")
        os.write(1, b"three\n")
    return tail


def test_output_is_kept_and_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    tail = write_while_kept()
    os.write(2, b"after\n")
    deadline = time.monotonic() + 5
    while len(tail.lines) < 3:
        assert time.monotonic() < deadline, list(tail.lines)
        time.sleep(0.005)
    assert sorted(tail.lines) == ["one", "three", "two"]
    time.sleep(0.05)
    captured = capfd.readouterr()
    assert sorted(captured.err.splitlines()) == ["after", "one", "two"]
    assert captured.out == "three\n"
