"""The V1 engine (vLLM 0.6.4 and up): a front end here, the engine in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from triton_vllm.engines import common, v1_stats
from triton_vllm.engines.cumulative import CumulativeParams, follow
from triton_vllm.engines.interface import (
    Embedding,
    EmbedJob,
    GenerateJob,
    Output,
    StatsSink,
)
from triton_vllm.fields import Field
from triton_vllm.sampling import Sampling


class V1Engine:
    """Adapter for `vllm.v1.engine.async_llm.AsyncLLM`."""

    def __init__(self, engine_args: Any, stats: StatsSink | None) -> None:
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments: dict[str, Any] = {"usage_context": UsageContext.OPENAI_API_SERVER}
        keywords = common.keywords_of(AsyncLLM.from_engine_args)
        logger = v1_stats.make_logger_class(stats) if stats is not None else None
        if logger is not None:
            arguments["stat_loggers"] = [logger]
        # Nobody reads what vLLM's own loggers collect, but tracing needs the statistics.
        unread = stats is None and not getattr(engine_args, "otlp_traces_endpoint", None)
        if unread or (logger is not None and v1_stats.drops_default_loggers()):
            engine_args.disable_log_stats = True
        self._llm = AsyncLLM.from_engine_args(engine_args, **common.only(keywords, arguments))
        if logger is not None and "stat_loggers" not in keywords:
            v1_stats.replace_loggers(self._llm.stat_loggers, logger)
        self._stats = stats
        self._clocked = stats is not None and logger is None
        common.freeze_environment()
        self._params = common.Params(_make_check())
        self.fields: Mapping[str, Field] = self._params.fields
        self._generate_keywords = common.keywords_of(AsyncLLM.generate)
        self._encode_keywords = common.keywords_of(AsyncLLM.encode)
        self._vocab_size = _read_vocab_size(self._llm)
        self.description = "V1"
        self.merges = _has_collector()

    @property
    def failed(self) -> bool:
        return bool(self._llm.errored)

    @property
    def max_model_len(self) -> int:
        return int(self._llm.model_config.max_model_len)

    def make_params(self, sampling: Sampling, stream: bool, logprobs: bool) -> Any:
        if self._clocked:
            return CumulativeParams(self._params.make(sampling, None, logprobs), stream)
        return self._params.make(sampling, stream, logprobs)

    def make_prompt(self, prompt: str | Sequence[int], images: Sequence[Any]) -> Any:
        return common.make_prompt(prompt, images)

    def generate(self, job: GenerateJob) -> AsyncIterator[Output]:
        self._check_prompt(job.prompt)
        extra = common.only(self._generate_keywords, common.generate_arguments(job))
        params = job.params.params if self._clocked else job.params
        outputs: AsyncIterator[Output] = self._llm.generate(job.prompt, params, job.request_id, **extra)
        return follow(outputs, job.params, self._stats) if self._clocked else outputs

    def _check_prompt(self, prompt: Any) -> None:
        # What stands for an image may have an id beyond the vocabulary.
        if isinstance(prompt, dict) and "prompt_token_ids" in prompt and "multi_modal_data" not in prompt:
            common.check_token_ids(prompt["prompt_token_ids"], self._vocab_size)

    async def embed(self, job: EmbedJob) -> Embedding:
        self._check_prompt(job.prompt)
        return await common.embed(self._llm, self._encode_keywords, job, self._llm.model_config)

    async def get_tokenizer(self) -> Any:
        return await common.get_tokenizer(self._llm)

    async def get_tasks(self) -> frozenset[str] | None:
        return await common.get_tasks(self._llm)

    async def abort(self, request_id: str) -> None:
        await self._llm.abort(request_id)

    async def check_health(self) -> None:
        await self._llm.check_health()

    def shutdown(self) -> None:
        self._llm.shutdown()


def _read_vocab_size(llm: Any) -> int | None:
    """Return how many tokens the model knows, with those that adapters may add; None where that is not told."""
    if not hasattr(llm.model_config, "get_vocab_size"):
        return None
    lora = getattr(getattr(llm, "vllm_config", None), "lora_config", None)
    return int(llm.model_config.get_vocab_size()) + int(getattr(lora, "lora_extra_vocab_size", 0))


def _has_collector() -> bool:
    try:
        from vllm.v1.engine import output_processor
    except ImportError:
        return False
    return hasattr(output_processor, "RequestOutputCollector")


def _make_check() -> Callable[[Any], None] | None:
    """Return a function that raises when parameters would not arrive in the engine's process.

    That process decodes them by their types, and when it cannot, it stops to listen: no request
    would ever be answered again.
    """
    try:
        from vllm import SamplingParams
        from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder
    except ImportError:
        return None

    def check(params: Any) -> None:
        MsgpackDecoder(SamplingParams).decode(MsgpackEncoder().encode(params))

    return check


def start(arguments: Mapping[str, Any], stats: StatsSink | None) -> V1Engine:
    """Start the engine. Must run on the loop that will use it. Raises what vLLM raises."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return V1Engine(AsyncEngineArgs(**arguments), stats)
