"""The samples in the image do what they show."""

from __future__ import annotations

import pytest

from tests.image.serving import Server, check_output, execute, log_tail

pytestmark = pytest.mark.needs("inside")

SAMPLES = "/opt/tritonserver/samples"


def read_prompts(server: Server) -> list[str]:
    text = check_output(server.container, ["cat", f"{SAMPLES}/prompts.txt"])
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    assert prompts
    return prompts


def run_client(server: Server, *flags: str) -> str:
    """Run the baked client as the image's user in a folder that is writable; return its results file."""
    results = "/tmp/results.txt"
    command = ["python3", f"{SAMPLES}/client.py", "--input-prompts", f"{SAMPLES}/prompts.txt"]
    result = execute(server.container, [*command, "--results-file", results, *flags], workdir="/tmp")
    assert result.code == 0, f"{result.output}{result.errors}\n{log_tail(server.container)}"
    return check_output(server.container, ["sh", "-c", f"cat {results}; rm {results}"])


def test_client_writes_an_answer_to_every_prompt(server: Server) -> None:
    prompts, results = read_prompts(server), run_client(server)
    missing = [prompt for prompt in prompts if prompt not in results]
    assert not missing
    assert len(results) > sum(map(len, prompts)) + 10 * len(prompts), f"prompts without answers: {results}"


def test_streaming_client_writes_answers(server: Server) -> None:
    prompts, results = read_prompts(server), run_client(server, "--streaming-mode")
    assert len(results) > 10 * len(prompts), results


def test_client_fails_when_no_server_listens(server: Server) -> None:
    result = execute(
        server.container,
        ["python3", f"{SAMPLES}/client.py", "-u", "127.0.0.1:1", "--results-file", "/tmp/none.txt",
         "--input-prompts", f"{SAMPLES}/prompts.txt"],
        workdir="/tmp",
    )  # fmt: skip
    assert result.code != 0
    assert "Traceback" not in result.output + result.errors
