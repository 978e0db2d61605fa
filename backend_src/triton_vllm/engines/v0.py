"""The V0 engine (vLLM 0.2 to 0.10): it runs in this process, beside its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from triton_vllm.engines import common
from triton_vllm.engines.cumulative import CumulativeParams, follow
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

# Where a version does not tell its context length.
DEFAULT_MAX_MODEL_LEN = 8192


class V0Engine:
    """Adapter for `vllm.engine.async_llm_engine.AsyncLLMEngine`.

    All its versions give everything made so far with every output, so what is new is worked out
    here, and so are the times of a request, which its early versions tell nobody.
    """

    description = "V0"
    merges = False

    def __init__(self, engine_args: Any, stats: StatsSink | None) -> None:
        from vllm.engine.async_llm_engine import AsyncLLMEngine

        self._llm = AsyncLLMEngine.from_engine_args(engine_args)
        self._stats = stats
        if stats is not None and hasattr(self._llm, "add_logger"):
            from triton_vllm.engines.v0_stats import make_logger

            self._llm.add_logger("triton", make_logger(stats))
            # Costs time at every step, for a registry that nobody reads.
            self._llm.remove_logger("prometheus")
        self._params = common.Params()
        self.fields: Mapping[str, Field] = self._params.fields
        self._generate_keywords = common.keywords_of(AsyncLLMEngine.generate)
        encode = getattr(AsyncLLMEngine, "encode", None)
        self._encode_keywords = common.keywords_of(encode) if encode else None

    @property
    def failed(self) -> bool:
        if hasattr(self._llm, "errored"):
            return bool(self._llm.errored)
        loop = getattr(self._llm, "background_loop", None)
        return loop is not None and loop.done()

    @property
    def _model_config(self) -> Any:
        # None where the engine runs in another process.
        return getattr(getattr(self._llm, "engine", None), "model_config", None)

    @property
    def max_model_len(self) -> int:
        return int(getattr(self._model_config, "max_model_len", None) or DEFAULT_MAX_MODEL_LEN)

    def make_params(self, sampling: Sampling, stream: bool, logprobs: bool) -> CumulativeParams:
        return CumulativeParams(self._params.make(sampling, None, logprobs), stream)

    def make_prompt(self, prompt: str | Sequence[int], images: Sequence[Any]) -> Any:
        # Before 0.5 the first argument could only be a text.
        if "prompt_token_ids" in self._generate_keywords and (images or not isinstance(prompt, str)):
            name = "image" if images else "input_token_ids"
            msg = f'input "{name}" is not available with this vLLM'
            raise RequestError(msg)
        return common.make_prompt(prompt, images)

    def generate(self, job: GenerateJob) -> AsyncIterator[Output]:
        extra = common.only(self._generate_keywords, common.generate_arguments(job))
        outputs = self._llm.generate(job.prompt, job.params.params, job.request_id, **extra)
        return follow(outputs, job.params, self._stats)

    async def embed(self, job: EmbedJob) -> Embedding:
        if self._encode_keywords is None:
            msg = "embedding requests are not available with this vLLM"
            raise RequestError(msg)
        return await common.embed(self._llm, self._encode_keywords, job, self._model_config)

    async def get_tokenizer(self) -> Any:
        return await common.get_tokenizer(self._llm)

    async def get_tasks(self) -> frozenset[str] | None:
        return await common.get_tasks(self._llm)

    async def abort(self, request_id: str) -> None:
        await self._llm.abort(request_id)

    async def check_health(self) -> None:
        if hasattr(self._llm, "check_health"):
            await self._llm.check_health()

    def shutdown(self) -> None:
        if hasattr(self._llm, "shutdown_background_loop"):
            self._llm.shutdown_background_loop()


def start(arguments: Mapping[str, Any], stats: StatsSink | None) -> V0Engine:
    """Start the engine. Must run on the loop that will use it. Raises what vLLM raises."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return V0Engine(AsyncEngineArgs(**arguments), stats)
