"""A repository of the user's own, as in the `docker run` line of NGC's images."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from tests.image.places import HTTP, METRICS, Place, Starter
from tests.image.repository import COMMAND, REPOSITORY, config_text, write_model
from tests.image.serving import (
    InsideClient,
    PublishedClient,
    Server,
    check_output,
    log_tail,
    parse_events,
    stop,
)
from tests.image.standin import StandIn, engine_arguments
from tritonbuild.spec import BuildSpec

MODEL = "mounted_model"
# OpenShift gives every project a uid of its own, and group 0.
RANDOM_USER = "12345:0"
LONG: dict[str, Any] = {"max_tokens": 200, "ignore_eos": True}


# Of the session, as the test that ends it runs after those of all other modules.
@pytest.fixture(scope="session")
def mounted(
    start: Starter,
    spec: BuildSpec,
    gpus: bool,
    box: Place,
    standin: StandIn | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The image with a mounted repository, a random uid and published ports."""
    folder = tmp_path_factory.mktemp("repository")
    if standin:
        arguments, mounts = engine_arguments(spec, standin.arguments["model"], beside=1), standin.mounts
    else:
        arguments = json.loads(check_output(box, ["cat", f"{REPOSITORY}/vllm_model/1/model.json"]))
        mounts = {}
    write_model(folder, MODEL, arguments, config_text(spec, REPORT_CUSTOM_METRICS="true"))
    with start(
        COMMAND, mounts={**mounts, folder: REPOSITORY}, publish=(HTTP, METRICS), gpus=gpus, user=RANDOM_USER
    ) as container:
        server = Server(container, PublishedClient(container), MODEL)
        server.wait_until_ready()
        yield server


def test_mounted_model_answers_on_a_published_port(mounted: Server) -> None:
    reply = mounted.ask("The capital of France is", max_tokens=8)
    assert reply.status == 200, reply.text
    assert reply.json()["model_name"] == MODEL
    assert len(reply.json()["text_output"]) > len("The capital of France is")
    assert mounted.get("/v2/models/vllm_model/ready").status != 200


def test_random_uid_of_group_zero_serves_and_can_write_its_home(mounted: Server) -> None:
    assert check_output(mounted.container, ["id", "-u"]).strip() == RANDOM_USER.partition(":")[0]
    check_output(mounted.container, ["sh", "-c", 'touch "$HOME/x" "$HOME/.cache/x" && rm "$HOME/x"'])


def read_counters(server: Server) -> dict[str, float]:
    page = server.get("/metrics", port=METRICS).text
    pattern = re.compile(r'^(vllm:\w+)\{[^}]*model="' + MODEL + r'"[^}]*\} ([0-9.e+]+)$', re.MULTILINE)
    return {name: float(value) for name, value in pattern.findall(page)}


def test_custom_metrics_count_what_was_served(mounted: Server) -> None:
    def tokens() -> tuple[float, float]:
        counters = read_counters(mounted)
        return counters.get("vllm:prompt_tokens_total", 0), counters.get("vllm:generation_tokens_total", 0)

    before = tokens()
    assert mounted.ask("The capital of France is", max_tokens=8, ignore_eos=True).status == 200
    # The counters are kept by a thread of its own, shortly after the answer.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and tokens()[1] < before[1] + 8:
        time.sleep(0.2)
    prompt, generation = tokens()
    assert prompt > before[0]
    assert generation == before[1] + 8
    assert read_counters(mounted)["vllm:time_to_first_token_seconds_count"] > 0


@pytest.mark.ends_server
def test_request_in_flight_is_finished_before_the_server_ends(mounted: Server) -> None:
    assert isinstance(mounted.client, PublishedClient)
    whole = mounted.answer("Once upon a time", inputs={"exclude_input_in_output": True}, **LONG)
    body = {"text_input": "Once upon a time", "parameters": {"stream": True, "temperature": 0, **LONG}}
    url = mounted.client.url(f"/v2/models/{MODEL}/generate_stream")
    received: list[str] = []
    failures: list[Exception] = []

    # Triton waits for idle connections as for busy ones, so a client that kept its own would use
    # up the time to exit.
    headers = {"Connection": "close"}
    with requests.post(url, json=body, headers=headers, stream=True, timeout=60) as answer:
        chunks = answer.iter_content(chunk_size=None)
        received.append(next(chunks).decode())

        def read_rest() -> None:
            try:
                received.extend(chunk.decode() for chunk in chunks)
            except requests.RequestException as error:
                failures.append(error)

        reader = Thread(target=read_rest)
        reader.start()
        code = stop(mounted.container)
        reader.join(timeout=30)
    assert code == 0, log_tail(mounted.container)
    assert failures == []
    events = parse_events("".join(received))
    text = "".join(event.get("text_output", "") for event in events)
    assert text == whole or events[-1].get("error"), "the answer was cut off without an error"


def test_model_without_its_arguments_is_refused_by_name(
    start: Starter, spec: BuildSpec, tmp_path: Path
) -> None:
    """Needs neither a GPU nor vLLM, so it runs for every row."""
    write_model(tmp_path, "no_arguments", None, config_text(spec))
    command = [*COMMAND, "--model-control-mode=explicit"]
    with start(command, mounts={tmp_path: REPOSITORY}) as container:
        server = Server(container, InsideClient(container), "no_arguments")
        server.wait_until_ready(60)
        reply = server.post("/v2/repository/models/no_arguments/load", {})
        assert 400 <= reply.status < 600
        assert "'model.json' containing vllm engine args must be provided" in reply.json()["error"]
        assert server.get("/v2/health/live").status == 200
        assert stop(container) == 0, log_tail(container)


def test_server_of_every_row_reports_its_version(start: Starter, spec: BuildSpec, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = [*COMMAND, "--model-control-mode=explicit"]
    with start(command, mounts={tmp_path: REPOSITORY}) as container:
        server = Server(container, InsideClient(container), "none")
        server.wait_until_ready(60)
        assert server.get("/v2").json()["version"] == spec.triton
