"""Engines run on the GPUs that they are given, within the memory that they are given."""

from __future__ import annotations

import pytest

from tests.image.abilities import counts_others
from tests.image.cuda.conftest import Loaded
from tests.image.cuda.gpus import Gpu, read_gpus
from tests.image.cuda.repository import LORAS, PARALLEL
from tests.image.serving import Server
from tests.image.standin import GPU_SHARE as SHARE
from tritonbuild.spec import BuildSpec

PROMPT = "The capital of France is"
# What CUDA itself takes of a GPU for each process, in bytes; vLLM counts it for one engine, Triton has its own.
CONTEXT = 1 << 30


def answer(server: Server, **parameters: object) -> str:
    """Return what is added to the prompt."""
    text = server.answer(PROMPT, inputs={"exclude_input_in_output": True}, max_tokens=24, **parameters)
    # The model writes printable ASCII, one character for each token, and never ends by itself.
    assert len(text) == 24
    assert text.isascii()
    assert text.isprintable()
    return text


def taken(server: Server, before: list[Gpu]) -> list[float]:
    """Return the share of each GPU's memory that is used more than before."""
    return [
        (now.used - then.used) / now.memory
        for now, then in zip(read_gpus(server.container), before, strict=True)
    ]


def most(gpu: Gpu, engines: int = 1) -> float:
    """Return the largest share of a GPU's memory that engines may take."""
    return engines * (SHARE + CONTEXT / gpu.memory)


@pytest.mark.parametrize("model", ["model", "gpu"], ids=["KIND_MODEL", "KIND_GPU"])
def test_engine_generates_text_on_the_first_gpu_and_keeps_to_its_memory(
    gpu_server: Server, loaded: Loaded, model: str
) -> None:
    before = read_gpus(gpu_server.container)
    with loaded(model) as server:
        text = answer(server)
        assert answer(server) == text
        shares = taken(server, before)
    # Most of what it may take is the KV cache, which is made at the start.
    assert SHARE / 2 < shares[0] <= most(before[0])
    assert all(share < SHARE / 4 for share in shares[1:]), shares


def test_two_instances_share_a_gpu(spec: BuildSpec, gpu_server: Server, loaded: Loaded) -> None:
    if counts_others(spec):
        pytest.skip(f"an engine of vLLM {spec.vllm} leaves no room for a second one with the same arguments")
    before = read_gpus(gpu_server.container)
    with loaded("pair") as server:
        texts = {answer(server) for _ in range(6)}
        shares = taken(server, before)
    assert len(texts) == 1
    assert SHARE < shares[0] <= most(before[0], engines=2)


def test_compiled_engine_with_cuda_graphs_answers(loaded: Loaded) -> None:
    """Kernels are compiled when the engine starts: that takes the image's C compiler and the driver's."""
    with loaded("compiled") as server:
        assert answer(server) == answer(server)


@pytest.mark.engine_has("enable_lora")
def test_adapters_are_chosen_per_request(loaded: Loaded) -> None:
    with loaded("adapters") as server:
        texts = {name: answer(server, **({"lora_name": name} if name else {})) for name in (None, *LORAS)}
        assert len(set(texts.values())) == len(texts)
        refused = server.ask(PROMPT, lora_name="bavaria")
    assert refused.status >= 400
    assert "bavaria" in refused.json()["error"]


@pytest.mark.engine_lacks("enable_lora")
def test_engine_without_adapters_refuses_a_model_with_some(gpu_server: Server) -> None:
    reply = gpu_server.post("/v2/repository/models/adapters/load", {})
    assert reply.status == 400, reply.text
    assert 'unknown key "enable_lora"' in reply.json()["error"]


def test_model_with_health_checks_answers_and_is_ready(loaded: Loaded) -> None:
    with loaded("checked") as server:
        assert [answer(server) for _ in range(3)] == [answer(server)] * 3
        assert server.get("/v2/models/checked/ready").status == 200


def test_engine_is_spread_over_all_gpus(gpu_server: Server, gpu_list: list[Gpu], loaded: Loaded) -> None:
    number = next((number for number in PARALLEL if number <= len(gpu_list)), 1)
    if number == 1:
        pytest.skip("this host has one GPU: tensor_parallel_size above 1 is not proven")
    before = read_gpus(gpu_server.container)
    with loaded(f"parallel{number}") as server:
        assert answer(server) == answer(server)
        shares = taken(server, before)
    assert all(SHARE / 2 < share <= most(before[0]) for share in shares[:number]), shares
