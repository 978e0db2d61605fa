"""The adapters on every vLLM: each version's own names and signatures, as its wheel has them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from packaging.version import Version
from triton_vllm import enginefields
from triton_vllm.engines import selection
from triton_vllm.engines.interface import EmbedJob, GenerateJob, Lora
from triton_vllm.errors import RequestError
from triton_vllm.sampling import Sampling

from .vllm_facts import VERSIONS, Facts, Handlers, installed

# What the adapters use where a version has it: from that version on, or from one until another.
OPTIONAL: Mapping[str, tuple[str, str]] = {
    "AsyncLLMEngine": ("0.2.0", "0.11.0"),
    "AsyncLLMEngine.add_logger": ("0.5.3.post1", "0.11.0"),
    "AsyncLLMEngine.remove_logger": ("0.5.3.post1", "0.11.0"),
    "AsyncLLMEngine.check_health": ("0.4.0.post1", "0.11.0"),
    "AsyncLLMEngine.encode": ("0.4.3", "0.11.0"),
    "AsyncLLMEngine.errored": ("0.4.0.post1", "0.11.0"),
    "AsyncLLMEngine.get_tokenizer": ("0.3.3", "0.11.0"),
    "AsyncLLMEngine.shutdown_background_loop": ("0.5.5", "0.11.0"),
    "AsyncLLMEngine.generate(lora_request)": ("0.3.0", "0.11.0"),
    "AsyncLLMEngine.generate(priority)": ("0.6.3.post1", "0.11.0"),
    "AsyncLLMEngine.generate(prompt_token_ids)": ("0.2.0", "0.4.3"),
    "AsyncLLMEngine.generate(trace_headers)": ("0.5.3.post1", "0.11.0"),
    "StatLogger._log_prometheus": ("0.3.3", "0.5.3.post1"),
    "StatLogger._log_prometheus_interval": ("0.3.3", "0.5.3.post1"),
    "AsyncLLM": ("0.6.6.post1", ""),
    "AsyncLLM.from_engine_args(stat_loggers)": ("0.6.6.post1", ""),
    "AsyncLLM.stat_loggers": ("0.6.6.post1", "0.10.1.1"),
    "GuidedDecodingParams": ("0.6.3.post1", "0.13.0"),
    "StructuredOutputsParams": ("0.11.0", ""),
    "LoRARequest": ("0.3.0", ""),
    "LoRARequest.lora_path": ("0.5.3.post1", ""),
    "PoolingParams": ("0.4.3", ""),
    "PoolingParams.dimensions": ("0.8.4", ""),
    "PoolingParams.task": ("0.10.1.1", ""),
    "PoolingParams.verify": ("0.8.4", ""),
    "RequestOutputKind": ("0.6.3.post1", ""),
    "PrometheusStatLogger.record": ("0.8.1", ""),
    "StatLoggerManager.__init__(enable_default_loggers)": ("0.10.2", ""),
    "SchedulerStats.kv_cache_usage": ("0.9.2", ""),
    "SchedulerStats.num_skipped_waiting_reqs": ("0.20.2", ""),
    "IterationStats.inter_token_latencies_iter": ("0.10.2", ""),
    "Stats.time_queue_requests": ("0.6.6.post1", "0.11.1"),
    "MsgpackEncoder": ("0.7.3", ""),
}
SCHEDULER = {
    "num_running_reqs": 4,
    "num_waiting_reqs": 5,
    "num_skipped_waiting_reqs": 0,
    "kv_cache_usage": 0.25,
    "gpu_cache_usage": 0.25,
    "prefix_cache_stats": None,
}
ITERATION = {
    "num_prompt_tokens": 3,
    "num_generation_tokens": 2,
    "num_preempted_reqs": 1,
    "time_to_first_tokens_iter": [0.5],
    "inter_token_latencies_iter": [0.1],
    "time_per_output_tokens_iter": [0.1],
    "n_params_iter": [1],
}
FINISHED = {
    "finish_reason": "stop",
    "e2e_latency": 2.0,
    "num_prompt_tokens": 3,
    "num_generation_tokens": 2,
    "queued_time": 0.1,
    "prefill_time": 0.2,
    "decode_time": 0.3,
}
V0_STEP = {
    "num_running_sys": 4,
    "num_waiting_sys": 5,
    "gpu_cache_usage_sys": 0.25,
    # As versions before 0.4.3 name them.
    "num_running": 4,
    "num_waiting": 5,
    "gpu_cache_usage": 0.25,
    "num_preemption_iter": 1,
    "time_queue_requests": [0.1],
    "time_prefill_requests": [0.2],
    "time_decode_requests": [0.3],
}
# The metrics that users know from upstream.
MISSION = {
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
    "request_params_best_of",
    "request_params_n",
}


class Sink:
    """A `StatsSink` that keeps everything."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.levels: dict[str, float] = {}
        self.observed: dict[str, list[float]] = defaultdict(list)

    def count(self, name: str, amount: float = 1, reason: str = "") -> None:
        self.counted[name] += amount  # type: ignore[assignment]

    def level(self, name: str, value: float) -> None:
        self.levels[name] = value

    def observe(self, name: str, values: Any) -> None:
        if values:
            self.observed[name].extend(values)


class OneLogger:
    """The logger that early versions have: of the registry and of the log, where its own methods feed the former."""

    def log(self, stats: Any) -> None:
        self._log_prometheus(stats)
        self._log_prometheus_interval(prompt_throughput=1.0, generation_throughput=1.0)

    def _log_prometheus(self, stats: Any) -> None:
        pytest.fail("a registry that nobody reads was fed")

    def _log_prometheus_interval(self, prompt_throughput: float, generation_throughput: float) -> None:
        pytest.fail("a registry that nobody reads was fed")


class World:
    """One version of vLLM, importable, with an engine that says `ab` to everything."""

    def __init__(self, facts: Facts, handlers: Handlers) -> None:
        self.facts, self.handlers = facts, handlers
        self.llm: Any = None
        for name in ("AsyncLLMEngine", "AsyncLLM"):
            handlers.handlers |= {
                f"{name}.from_engine_args": self._start,
                f"{name}.generate": self._generate,
                f"{name}.encode": self._encode,
                f"{name}.errored": lambda _: False,
                f"{name}.get_tokenizer": lambda _: "tokenizer",
            }
            for ignored in ("abort", "check_health", "shutdown", "shutdown_background_loop"):
                handlers.handlers[f"{name}.{ignored}"] = lambda _: None
        for ignored in ("AsyncLLMEngine.add_logger", "AsyncLLMEngine.remove_logger", "enable_envs_cache"):
            handlers.handlers[ignored] = lambda _: None
        handlers.handlers |= {
            "EngineArgs.create_engine_config": lambda _: None,
            "PoolingParams.verify": lambda _: None,
            "MsgpackEncoder.encode": lambda arguments: [*arguments.values()][1],
            "MsgpackDecoder.decode": lambda arguments: [*arguments.values()][1],
        }

    def _start(self, arguments: Mapping[str, Any]) -> Any:
        cls = arguments["cls"]
        text = SimpleNamespace(vocab_size=99)
        config = SimpleNamespace(max_model_len=77, hf_text_config=text, get_vocab_size=lambda: 99)
        values = {
            "background_loop": SimpleNamespace(done=lambda: False),
            "engine": SimpleNamespace(model_config=config, tokenizer="tokenizer"),
            "model_config": config,
            "stat_loggers": [[object()]] if self.version >= Version("0.8.4") else [object(), object()],
        }
        if self.facts.has("StatLogger"):
            values["engine"].stat_logger = OneLogger()
        self.llm = cls.__new__(cls)
        vars(self.llm).update(vars(self.facts.object_of(cls.__name__, values)))
        return self.llm

    def _generate(self, arguments: Mapping[str, Any]) -> list[Any]:
        params = arguments["sampling_params"]
        kind = getattr(getattr(params, "output_kind", None), "name", "CUMULATIVE")
        steps = {
            "CUMULATIVE": [("a", [5]), ("ab", [5, 6])],
            "DELTA": [("a", [5]), ("b", [6])],
            "FINAL_ONLY": [("ab", [5, 6])],
        }[kind]
        return [
            self._output(text, token_ids, last=(text, token_ids) == steps[-1]) for text, token_ids in steps
        ]

    def _output(self, text: str, token_ids: list[int], last: bool) -> Any:
        values = {
            "index": 0,
            "text": text,
            "token_ids": token_ids,
            "cumulative_logprob": None,
            "logprobs": {} if self.version == Version("0.2.0") else None,
            "finish_reason": "stop" if last else None,
        }
        completion = self.facts.object_of("CompletionOutput", values)
        return SimpleNamespace(outputs=[completion], finished=last, prompt_token_ids=[1, 2, 3])

    def _encode(self, arguments: Mapping[str, Any]) -> list[Any]:
        if not self.embeds(type(arguments["self"]).__name__):
            msg = "Not Supported on V1 yet."
            raise ValueError(msg)
        values = {"data": np.array([0.5, 1.5]), "embedding": [0.5, 1.5]}
        name = "PoolingOutput" if self.facts.has("PoolingOutput") else "EmbeddingOutput"
        outputs = self.facts.object_of(name, values)
        return [SimpleNamespace(outputs=outputs, prompt_token_ids=[1, 2])]

    def embeds(self, engine: str) -> bool:
        facts = self.facts.find(engine) or {}
        return facts["methods"].get("encode", {}).get("async") == "generator"

    @property
    def version(self) -> Version:
        return Version(self.facts.version)

    def start(self, engine: str, stats: Any, **arguments: Any) -> Any:
        os.environ["VLLM_USE_V1"] = "1" if engine == "AsyncLLM" else "0"
        return selection.start_engine({"model": "m", **arguments}, stats)


ENGINES = [
    (version, engine)
    for version in VERSIONS
    for engine in ("AsyncLLMEngine", "AsyncLLM")
    if Facts(version).has(engine)
]


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # Set, so that it is put back whatever a test does with it.
    monkeypatch.setenv("VLLM_USE_V1", "0")
    contexts = []

    def make(version: str) -> World:
        facts = Facts(version)
        contexts.append(installed(facts, tmp_path))
        return World(facts, contexts[-1].__enter__())

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


async def collect(outputs: Any) -> list[Any]:
    return [output async for output in outputs]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_adapters_do_without_is_missing_where_they_expect_it(version: str) -> None:
    facts = Facts(version)
    for path, (first, until) in OPTIONAL.items():
        after = until and Version(version) >= Version(until)
        expected = Version(version) >= Version(first) and not after
        if path == "AsyncLLM.from_engine_args(stat_loggers)" and Version("0.7") <= Version(version) < Version(
            "0.8.5"
        ):
            # It went away, and came back for another kind of logger.
            expected = False
        assert facts.has(path) == expected, path


@pytest.mark.parametrize(("version", "engine"), ENGINES)
@pytest.mark.parametrize("stream", [True, False])
def test_generation(make_world: Any, version: str, engine: str, stream: bool) -> None:
    world = make_world(version)
    lora = Lora("name", 3, "path") if world.facts.has("LoRARequest") else None

    async def run() -> list[Any]:
        adapter = world.start(engine, None)
        assert adapter.description == ("V1" if engine == "AsyncLLM" else "V0")
        assert adapter.merges == (engine == "AsyncLLM" and world.facts.has("RequestOutputCollector"))
        assert (adapter.failed, adapter.max_model_len) == (False, 77)
        assert await adapter.get_tokenizer() == "tokenizer"
        await adapter.check_health()
        sampling = Sampling({"n": 1, "temperature": 0.5, "max_tokens": 2, "stop": ["x"]})
        params = adapter.make_params(sampling, stream, logprobs=True)
        assert params.n == 1
        job = GenerateJob("id", "prompt", params, lora, {"traceparent": "t"}, 7)
        outputs = await collect(adapter.generate(job))
        await adapter.abort("id")
        adapter.shutdown()
        return outputs

    outputs = asyncio.run(run())
    assert [output.outputs[0].text for output in outputs] == (["a", "b"] if stream else ["ab"])
    assert [list(output.outputs[0].token_ids) for output in outputs] == ([[5], [6]] if stream else [[5, 6]])
    assert [output.finished for output in outputs] == ([False, True] if stream else [True])

    given = world.handlers.last(f"{engine}.generate")
    params = given["sampling_params"]
    assert (params.temperature, params.max_tokens, params.logprobs, params.stop) == (0.5, 2, 0, ["x"])
    assert (given.get("prompt", given.get("inputs")), given["request_id"]) == ("prompt", "id")
    if lora is not None:
        request = given["lora_request"]
        path = request.lora_path if hasattr(request, "lora_path") else request.lora_local_path
        assert (request.lora_name, request.lora_int_id, path) == ("name", 3, "path")
    for name, value in (("trace_headers", {"traceparent": "t"}), ("priority", 7)):
        if world.facts.has(f"{engine}.generate({name})"):
            assert given[name] == value
    assert world.handlers.last(f"{engine}.abort")["request_id"] == "id"


def test_a_zero_that_vllm_0_4_3_dies_of(make_world: Any) -> None:
    world = make_world("0.4.3")

    async def run() -> Any:
        return world.start("AsyncLLMEngine", None)

    adapter = asyncio.run(run())
    for given, expected in ((0, None), (2, 2)):
        sampling = Sampling({"n": 1, "prompt_logprobs": given})
        assert adapter.make_params(sampling, False, logprobs=False).params.prompt_logprobs == expected


@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_token_ids_as_a_prompt(make_world: Any, version: str, engine: str) -> None:
    world = make_world(version)

    async def run() -> None:
        adapter = world.start(engine, None)
        params = adapter.make_params(Sampling({"max_tokens": 2, "n": 1}), False, logprobs=False)
        job = GenerateJob("id", adapter.make_prompt([7, 8], []), params)
        await collect(adapter.generate(job))
        # The world's model knows 99 tokens. vLLM 0.30 would let 99 through, and die.
        for token_ids in ([99], [-1], []):
            with pytest.raises(RequestError):
                await collect(
                    adapter.generate(dataclasses.replace(job, prompt={"prompt_token_ids": token_ids}))
                )
        with pytest.raises(RequestError):
            await adapter.embed(EmbedJob("id", {"prompt_token_ids": [99]}))

    asyncio.run(run())
    given = world.handlers.last(f"{engine}.generate")
    prompt = given.get("prompt", given.get("inputs"))
    if world.facts.has(f"{engine}.generate(prompt_token_ids)"):
        assert (prompt, given["prompt_token_ids"]) == (None, [7, 8])
    else:
        assert prompt == {"prompt_token_ids": [7, 8]}


@pytest.mark.parametrize(
    ("module", "name", "taken"),
    [
        ("vllm.sequence", type("MultiModalData", (), {}), False),  # as 0.4.3 has it
        ("vllm.multimodal.base", type("MultiModalData", (), {}), False),  # 0.5.0
        ("vllm.multimodal.base", None, True),  # 0.5.3
        ("vllm.multimodal.base", int | list[int], True),  # 0.5.5
    ],
)
def test_images_go_to_the_v0_engines_that_take_them(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, module: str, name: Any, taken: bool
) -> None:
    world = make_world("0.5.5")
    fake = ModuleType(module)
    monkeypatch.setattr(fake, "MultiModalData", name, raising=False)
    monkeypatch.setitem(sys.modules, module, fake)

    async def run() -> Any:
        return world.start("AsyncLLMEngine", None)

    adapter = asyncio.run(run())
    if taken:
        assert adapter.make_prompt("p", ["i"]) == {"prompt": "p", "multi_modal_data": {"image": "i"}}
    else:
        with pytest.raises(RequestError, match="not available"):
            adapter.make_prompt("p", ["i"])


@pytest.mark.parametrize("version", [version for version, engine in ENGINES if engine == "AsyncLLMEngine"])
def test_a_prompt_that_the_v0_engine_passes_over_is_refused(make_world: Any, version: str) -> None:
    world = make_world(version)
    passed_over = SimpleNamespace(index=0, text="", token_ids=(), finish_reason="length")
    output = SimpleNamespace(outputs=[passed_over], finished=True, prompt_token_ids=[1] * 99)
    world.handlers.handlers["AsyncLLMEngine.generate"] = lambda _: [output]

    async def run() -> None:
        adapter = world.start("AsyncLLMEngine", Sink())
        params = adapter.make_params(Sampling({"max_tokens": 2, "n": 1}), False, logprobs=False)
        await collect(adapter.generate(GenerateJob("id", "prompt", params)))

    with pytest.raises(RequestError, match=r"prompt of 99 tokens .*max_model_len 77"):
        asyncio.run(run())


@pytest.mark.parametrize("name", ["vllm.utils", "vllm.engine.llm_engine"])
def test_the_v0_engine_starts_without_a_network(
    make_world: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world("0.3.0")

    def get_ip() -> str:
        msg = "Network is unreachable"
        raise OSError(msg)

    module = ModuleType(name)
    monkeypatch.setattr(module, "get_ip", get_ip, raising=False)
    monkeypatch.setitem(sys.modules, name, module)

    async def run() -> None:
        world.start("AsyncLLMEngine", None)

    asyncio.run(run())
    assert module.get_ip() == "127.0.0.1"


def test_loras_need_no_platform(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_world("0.5.3.post1")
    # 0.5.3 and 0.5.5 have platforms that cannot tell a CPU, the first knew none at all.
    for platform in (None, SimpleNamespace(is_cuda=lambda: True), SimpleNamespace(is_cpu=lambda: False)):
        module = ModuleType("vllm.platforms")
        monkeypatch.setattr(module, "current_platform", platform, raising=False)
        monkeypatch.setitem(sys.modules, "vllm.platforms", module)
        assert selection.leave_a_slot({"model": "m"}, 2) == {"model": "m"}


@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_metrics(make_world: Any, version: str, engine: str) -> None:
    world, sink = make_world(version), Sink()

    async def run() -> None:
        adapter = world.start(engine, sink)
        params = adapter.make_params(Sampling({"max_tokens": 2, "n": 1}), True, logprobs=False)
        await collect(adapter.generate(GenerateJob("id", "prompt", params)))

    asyncio.run(run())
    in_steps = 0
    for logger in _loggers(world, engine):
        in_steps += 1
        _step(world.facts, logger)
    if engine == "AsyncLLMEngine":
        assert in_steps == (world.facts.has("AsyncLLMEngine.add_logger") or world.facts.has("StatLogger"))
    else:
        assert in_steps == world.facts.has("PrometheusStatLogger.record")
    assert sink.counted["prompt_tokens_total"] == 3
    assert sink.counted["generation_tokens_total"] == 2
    assert sink.counted["request_success_total"] == 1
    assert {name: len(sink.observed[name]) for name in MISSION} == dict.fromkeys(MISSION, 1)
    assert (sink.observed["request_prompt_tokens"], sink.observed["request_generation_tokens"]) == ([3], [2])
    if in_steps:
        assert sink.levels == {
            "num_requests_running": 4,
            "num_requests_waiting": 5,
            "kv_cache_usage_perc": 0.25,
        }
        assert sink.counted["num_preemptions_total"] == (world.version >= Version("0.4.3"))
    if in_steps and (engine == "AsyncLLM" or world.facts.has("Stats.time_queue_requests")):
        for name, value in (("queue", 0.1), ("prefill", 0.2), ("decode", 0.3)):
            assert sink.observed[f"request_{name}_time_seconds"] == [value]


def _loggers(world: World, engine: str) -> list[Any]:
    """Return the stat loggers that vLLM would now feed, made as it makes them."""
    calls = dict(world.handlers.calls)
    if engine == "AsyncLLMEngine":
        if world.facts.has("StatLogger"):
            return [world.llm.engine.stat_logger]
        # vLLM's own Prometheus logger is out, the one that prints stays.
        removed = calls.get("AsyncLLMEngine.remove_logger", {}).get("logger_name")
        assert removed == ("prometheus" if "AsyncLLMEngine.add_logger" in calls else None)
        return [calls["AsyncLLMEngine.add_logger"]["logger"]] if removed else []
    started = calls["AsyncLLM.from_engine_args"]
    given = started.get("stat_loggers")
    if given:
        # Newer engines only leave their own Prometheus logger out for a class of its kind.
        from vllm.v1.metrics.loggers import PrometheusStatLogger

        (logger_class,) = given
        assert issubclass(logger_class, PrometheusStatLogger)
        assert bool(started["engine_args"].disable_log_stats) == world.facts.has(
            "StatLoggerManager.__init__(enable_default_loggers)"
        )
        parameter = (world.facts.find("PrometheusStatLogger") or {})["methods"]["__init__"]["parameters"][2]
        name, value = ("engine_indexes", [0]) if "engine_indexes" in parameter else ("engine_index", 0)
        return [logger_class(vllm_config=None, **{name: value})]
    loggers = getattr(world.llm, "stat_loggers", [])
    flat = loggers[0] if loggers and isinstance(loggers[0], list) else loggers
    assert len(flat) == 1 or not world.facts.has("PrometheusStatLogger.record")
    return flat if world.facts.has("PrometheusStatLogger.record") else []


def _step(facts: Facts, logger: Any) -> None:
    """Feed a logger as vLLM does after one step, once."""
    if not facts.has("PrometheusStatLogger.record") or not hasattr(logger, "record"):
        logger.log(facts.object_of("Stats", V0_STEP))
        return
    finished = facts.object_of("FinishedRequestStats", FINISHED)
    scheduler = facts.object_of("SchedulerStats", SCHEDULER)
    iteration = facts.object_of("IterationStats", {**ITERATION, "finished_requests": [finished]})
    methods = (facts.find("PrometheusStatLogger") or {})["methods"]
    names = [parameter.rstrip("=") for parameter in methods["record"]["parameters"][1:]]
    values = {"scheduler_stats": scheduler, "iteration_stats": iteration, "engine_idx": 0}
    if names[2:] == ["engine_idx"]:
        logger.record(scheduler, iteration, 0)
    else:
        logger.record(**{name: values.get(name) for name in names})
    # And everything else that vLLM calls on a logger of this kind must be there and do nothing.
    for name in methods:
        if name not in ("__init__", "record"):
            getattr(logger, name)()


@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_without_metrics_vllm_keeps_no_statistics_that_nobody_reads(
    make_world: Any, version: str, engine: str
) -> None:
    world = make_world(version)
    started = f"{engine}.from_engine_args"

    async def run() -> None:
        world.start(engine, None)
        assert bool(world.handlers.last(started)["engine_args"].disable_log_stats) == (engine == "AsyncLLM")
        if world.facts.has("EngineArgs.otlp_traces_endpoint"):
            world.start(engine, None, otlp_traces_endpoint="http://localhost")
            assert not world.handlers.last(started)["engine_args"].disable_log_stats

    asyncio.run(run())


@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_embedding(make_world: Any, version: str, engine: str) -> None:
    world = make_world(version)

    async def embed(**arguments: Any) -> Any:
        adapter = world.start(engine, None)
        return await adapter.embed(EmbedJob("id", "text", trace_headers={"traceparent": "t"}, **arguments))

    if not world.embeds(engine):
        with pytest.raises((RequestError, ValueError)):
            asyncio.run(embed())
        return
    embedding = asyncio.run(embed())
    assert (embedding.vector, embedding.num_tokens) == ([0.5, 1.5], 2)
    given = world.handlers.last(f"{engine}.encode")
    if world.facts.has("PoolingParams.task"):
        assert given["pooling_params"].task == "embed"
    if world.facts.has("PoolingParams.verify"):
        # The engine would take any dimensions, and leave out the model's normalization.
        assert world.handlers.last("PoolingParams.verify")["model_config"].max_model_len == 77
    if world.facts.has(f"{engine}.encode(trace_headers)"):
        assert given["trace_headers"] == {"traceparent": "t"}
    if world.facts.has("PoolingParams.dimensions"):
        asyncio.run(embed(dimensions=1))
        assert world.handlers.last(f"{engine}.encode")["pooling_params"].dimensions == 1
    else:
        with pytest.raises(RequestError, match="dimensions"):
            asyncio.run(embed(dimensions=1))


@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_sampling_parameters(make_world: Any, version: str, engine: str) -> None:
    world = make_world(version)

    async def run() -> Any:
        return world.start(engine, None)

    adapter = asyncio.run(run())
    fields = adapter.fields
    assert {"n", "temperature", "top_p", "top_k", "max_tokens", "stop", "ignore_eos", "logprobs"} <= set(
        fields
    )
    assert "output_kind" not in fields
    # The types come through, so that a text or a number can be checked before vLLM sees it.
    assert fields["temperature"].kinds == {"float"}
    assert fields["top_k"].kinds == {"int"}
    assert "int" in fields["max_tokens"].kinds
    assert {"str", "list[str]"} <= fields["stop"].kinds
    structured = Sampling({}, {"regex": "a+"})
    if world.facts.has("GuidedDecodingParams") or world.facts.has("StructuredOutputsParams"):
        params = adapter.make_params(structured, True, logprobs=False)
        params = getattr(params, "params", params)
        made = getattr(params, "structured_outputs", None) or params.guided_decoding
        assert made.regex == "a+"
        with pytest.raises(RequestError, match='unknown key "regexp", did you mean "regex"'):
            adapter.make_params(Sampling({}, {"regexp": "a+"}), True, logprobs=False)
    else:
        with pytest.raises(RequestError, match="not available"):
            adapter.make_params(structured, True, logprobs=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_engine_is_the_one_that_vllm_would_run(
    make_world: Any, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(version)
    release = Version(version)
    only_v1 = release >= Version("0.11.0")
    chosen = {}
    for value in (None, "0", "1"):
        monkeypatch.delenv("VLLM_USE_V1", raising=False)
        if value is not None:
            monkeypatch.setenv("VLLM_USE_V1", value)
        chosen[value] = selection.uses_v1({"model": "m"})
    assert chosen == {
        None: release >= Version("0.8.1"),
        "0": only_v1,
        "1": release >= Version("0.6.6.post1"),
    }
    if world.facts.has("AsyncLLM") and not only_v1:
        # The arguments need what only the old engine can.
        world.handlers.handlers["EngineArgs.create_engine_config"] = lambda _: monkeypatch.setenv(
            "VLLM_USE_V1", "0"
        )
        monkeypatch.delenv("VLLM_USE_V1")
        assert not selection.uses_v1({"model": "m"})


@pytest.mark.parametrize("version", VERSIONS)
def test_engine_arguments_are_read_without_importing_vllm(make_world: Any, version: str) -> None:
    world = make_world(version)
    path = enginefields.find_arg_utils()
    assert path is not None
    fields = enginefields.read_fields(path)
    known = {name for name in world.facts.members("AsyncEngineArgs") if not name.startswith("_")}
    assert set(fields) == known - {"create_engine_config"}
    types = {name: fields[name] for name in ("tensor_parallel_size", "gpu_memory_utilization")}
    assert types == {"tensor_parallel_size": "int", "gpu_memory_utilization": "float"}
    assert fields["disable_log_stats"] == "bool"
    assert fields["max_model_len"] in ("int?", "int", "")


def test_every_version_of_the_matrix_is_covered() -> None:
    matrix = yaml.safe_load(Path(__file__).parents[3].joinpath("versions.yaml").read_text(encoding="utf-8"))
    pinned = {engine["version"] for engine in matrix["engines"].values()}
    for release in matrix["releases"].values():
        pinned.add(release["vllm"]["public"])
        if any("engine" in image for image in release.get("images", {}).values()):  # it runs NVIDIA's own
            pinned.add(Version(release["vllm"]["ngc"]).public)
    assert pinned <= set(VERSIONS), "make api-facts VERSIONS=... writes what is missing"
