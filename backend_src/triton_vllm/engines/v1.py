"""The V1 engine (vLLM 0.6.4 and up): a front end here, the engine in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from triton_vllm.engines import common
from triton_vllm.engines.interface import (
    Embedding,
    EmbedJob,
    GenerateJob,
    Output,
    StatsSink,
)
from triton_vllm.errors import RequestError
from triton_vllm.fields import Field
from triton_vllm.sampling import Sampling


class V1Engine:
    """Adapter for `vllm.v1.engine.async_llm.AsyncLLM`."""

    def __init__(self, engine_args: Any, stats: StatsSink | None) -> None:
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine import output_processor
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments: dict[str, Any] = {"usage_context": UsageContext.OPENAI_API_SERVER}
        keywords = common.keywords_of(AsyncLLM.from_engine_args)
        if stats is not None and "stat_loggers" in keywords:
            from triton_vllm.engines.v1_stats import make_logger_factory

            arguments["stat_loggers"] = [make_logger_factory(stats)]
        self._llm = AsyncLLM.from_engine_args(engine_args, **common.only(keywords, arguments))
        common.freeze_environment()
        self._params = common.Params(_make_check())
        self.fields: Mapping[str, Field] = self._params.fields
        self._generate_keywords = common.keywords_of(AsyncLLM.generate)
        self._encode_keywords = common.keywords_of(AsyncLLM.encode)
        self.description = "V1"
        self.merges = hasattr(output_processor, "RequestOutputCollector")

    @property
    def failed(self) -> bool:
        return bool(self._llm.errored)

    @property
    def max_model_len(self) -> int:
        return int(self._llm.vllm_config.model_config.max_model_len)

    def make_params(self, sampling: Sampling, stream: bool, logprobs: bool) -> Any:
        return self._params.make(sampling, stream, logprobs)

    def make_prompt(self, text: str, images: Sequence[Any]) -> Any:
        return common.make_prompt(text, images)

    def generate(self, job: GenerateJob) -> AsyncIterator[Output]:
        keywords: Mapping[str, Any] = {
            "lora_request": common.make_lora(job.lora),
            "trace_headers": job.trace_headers,
            "priority": job.priority or None,
        }
        extra = common.only(self._generate_keywords, keywords)
        stream: AsyncIterator[Output] = self._llm.generate(job.prompt, job.params, job.request_id, **extra)
        return stream

    async def embed(self, job: EmbedJob) -> Embedding:
        from vllm import PoolingParams

        available = common.keywords_of(PoolingParams)
        wanted: dict[str, Any] = {"task": "embed", "dimensions": job.dimensions}
        try:
            params = PoolingParams(**common.only(available, wanted))
        except Exception as error:
            raise RequestError(common.describe(error)) from None
        keywords: Mapping[str, Any] = {
            "lora_request": common.make_lora(job.lora),
            "trace_headers": job.trace_headers,
        }
        extra = common.only(self._encode_keywords, keywords)
        final: Any = None
        async for output in self._llm.encode(job.prompt, params, job.request_id, **extra):
            final = output
        return common.to_embedding(final)

    async def get_tokenizer(self) -> Any:
        return await common.get_tokenizer(self._llm)

    async def abort(self, request_id: str) -> None:
        await self._llm.abort(request_id)

    async def check_health(self) -> None:
        await self._llm.check_health()

    def shutdown(self) -> None:
        self._llm.shutdown()


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
