"""The V0 engine (vLLM 0.2 to 0.10): it runs in this process, beside its workers."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from triton_vllm.engines import common, v0_limits, v0_stats
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
TOKEN_IDS = "prompt_token_ids"
LOOPBACK = "127.0.0.1"


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
        if stats is not None:
            v0_stats.listen(self._llm, stats)
        self._params = common.Params()
        self.fields: Mapping[str, Field] = self._params.fields
        self._generate_keywords = common.keywords_of(AsyncLLMEngine.generate)
        engine = getattr(self._llm, "engine", None)
        v0_limits.contain_errors(engine)
        self._limits = v0_limits.read_limits(engine)
        self._images = _takes_images(self._generate_keywords)
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
        params = self._params.make(sampling, None, logprobs)
        v0_limits.check_params(params, self._limits)
        if getattr(params, "prompt_logprobs", None) == 0:
            # Nobody is told of them, and 0.4.3 dies of a zero.
            params.prompt_logprobs = None
        return CumulativeParams(params, stream, v0_limits.is_ranked(params, self._limits))

    def make_prompt(self, prompt: str | Sequence[int], images: Sequence[Any]) -> Any:
        if images and not self._images:
            msg = 'input "image" is not available with this vLLM'
            raise RequestError(msg)
        if images:
            v0_limits.check_images(len(images), self._limits)
        return common.make_prompt(prompt, images)

    async def generate(self, job: GenerateJob) -> AsyncIterator[Output]:
        await self._check_prompt(job.prompt)
        prompt, extra = job.prompt, common.only(self._generate_keywords, common.generate_arguments(job))
        if TOKEN_IDS in self._generate_keywords and not isinstance(prompt, str):
            # Before 0.5 the first argument could only be a text.
            prompt, extra[TOKEN_IDS] = None, prompt[TOKEN_IDS]
        outputs = self._llm.generate(prompt, job.params.params, job.request_id, **extra)
        async for output in follow(self._answered(outputs), job.params, self._stats):
            yield output

    async def _check_prompt(self, prompt: Any) -> None:
        text = prompt if isinstance(prompt, str) else prompt.get("prompt")
        if text is None:
            common.check_token_ids(prompt[TOKEN_IDS], self._limits.vocab_size)
        elif not text.strip():
            # Whether anything is left of it for the model only its tokenizer knows.
            tokenizer = await self.get_tokenizer()
            common.check_token_ids(tokenizer.encode(text), self._limits.vocab_size)

    async def _answered(self, outputs: AsyncIterator[Output]) -> AsyncIterator[Output]:
        """Pass on outputs; raise RequestError for a prompt that the engine passed over for its length."""
        async for output in outputs:
            if output.finished and not any(completion.token_ids for completion in output.outputs):
                reasons = {completion.finish_reason for completion in output.outputs}
                if reasons == {"length"}:
                    msg = (
                        f"Error generating stream: the prompt of {len(output.prompt_token_ids or ())} tokens "
                        f"is longer than this engine can take (max_model_len {self.max_model_len})"
                    )
                    raise RequestError(msg)
            yield output

    async def embed(self, job: EmbedJob) -> Embedding:
        if self._encode_keywords is None:
            msg = "embedding requests are not available with this vLLM"
            raise RequestError(msg)
        await self._check_prompt(job.prompt)
        return await common.embed(self._llm, self._encode_keywords, job, self._model_config)

    async def get_tokenizer(self) -> Any:
        return await common.get_tokenizer(self._llm)

    async def get_tasks(self) -> frozenset[str] | None:
        tasks = await common.get_tasks(self._llm)
        return v0_limits.find_tasks(getattr(self._llm, "engine", None)) if tasks is None else tasks

    async def abort(self, request_id: str) -> None:
        await self._llm.abort(request_id)

    async def check_health(self) -> None:
        if hasattr(self._llm, "check_health"):
            await self._llm.check_health()

    def shutdown(self) -> None:
        if hasattr(self._llm, "shutdown_background_loop"):
            self._llm.shutdown_background_loop()


def _takes_images(generate_keywords: frozenset[str]) -> bool:
    """Return whether prompts can carry images as they are: up to 0.5.0 they had to be a model's own tensors."""
    if TOKEN_IDS in generate_keywords:
        return False
    for module in ("vllm.sequence", "vllm.multimodal.base"):
        try:
            # Later something else has this name, which is no class.
            if isinstance(getattr(importlib.import_module(module), "MultiModalData", None), type):
                return False
        except ImportError:
            continue
    return True


def _do_without_a_network() -> None:
    """Let versions up to 0.4.0 start on a host that has no address: they ask for one that goes outside."""
    for name in ("vllm.utils", "vllm.engine.llm_engine"):
        try:
            module: Any = importlib.import_module(name)
            get_ip = module.get_ip
        except (ImportError, AttributeError):
            continue
        try:
            get_ip()
        except OSError:
            module.get_ip = lambda: LOOPBACK


def start(arguments: Mapping[str, Any], stats: StatsSink | None) -> V0Engine:
    """Start the engine. Must run on the loop that will use it. Raises what vLLM raises."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    _do_without_a_network()
    return V0Engine(AsyncEngineArgs(**arguments), stats)
