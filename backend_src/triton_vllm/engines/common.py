"""What the adapters share: vLLM's classes by their stable names, and its errors in ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triton_vllm.engines.interface import Embedding, EmbedJob, GenerateJob
from triton_vllm.errors import (
    BackendError,
    EngineUnavailable,
    RequestError,
    did_you_mean,
    one_line,
)
from triton_vllm.fields import Field, read_fields, read_makers
from triton_vllm.sampling import Sampling

# Fields of SamplingParams that are the engine's business, or that no JSON can carry.
HIDDEN_FIELDS = frozenset(
    {"output_kind", "output_text_buffer_length", "skip_clone", "flat_logprobs", "logits_processors"}
)
DEAD = frozenset({"EngineDeadError", "AsyncEngineDeadError", "MQEngineDeadError"})
BUSY = frozenset({"GracefulHTTPError"})
CLIENT = frozenset({"VLLMClientError", "ValueError", "TypeError", "OverflowError", "LookupError"})
SCALARS = (bool, int, float, str, type(None))
GENERATING = "Error generating stream: "


def keywords_of(function: Any) -> frozenset[str]:
    """Return the names of the parameters that a function takes."""
    return frozenset(inspect.signature(function).parameters)


def only(keywords: frozenset[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the arguments that the function takes and that have a value."""
    return {name: value for name, value in arguments.items() if name in keywords and value is not None}


def describe(error: BaseException) -> str:
    """Return the engine's error as one line, without the engine's repetition of its parameter."""
    if type(error).__name__ == "VLLMValidationError" and error.args:
        return " ".join(str(error.args[0]).split())
    if type(error).__name__ == "EngineGenerateError" and error.__cause__ is not None:
        return describe(error.__cause__)
    return one_line(error)


def translate(error: BaseException) -> BackendError:
    """Turn what vLLM raised for a request into one of our errors."""
    if isinstance(error, BackendError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & DEAD:
        msg = "the vLLM engine died; see the server's log"
        return EngineUnavailable(msg)
    if names & BUSY:
        return EngineUnavailable(GENERATING + describe(error))
    cause = error.__cause__
    if "EngineGenerateError" in names and cause is not None:
        return translate(cause)
    if names & CLIENT:
        return RequestError(GENERATING + describe(error))
    return BackendError(GENERATING + f"{type(error).__name__}: {describe(error)}")


class Params:
    """Builds SamplingParams of whichever vLLM is installed."""

    def __init__(self, check: Callable[[Any], None] | None = None) -> None:
        """`check` gets parameters of a composite type, and raises when they are not sound."""
        from vllm import sampling_params

        self._check = check
        self._module = sampling_params
        self._params_class = sampling_params.SamplingParams
        self._all_fields = read_fields(self._params_class, frozenset())
        self._makers = read_makers(self._params_class)
        self._kinds = getattr(sampling_params, "RequestOutputKind", None)
        if "output_kind" not in self._all_fields:
            self._kinds = None
        self.fields: dict[str, Field] = {
            name: field for name, field in self._all_fields.items() if name not in HIDDEN_FIELDS
        }

    def make(self, sampling: Sampling, stream: bool | None, logprobs: bool) -> Any:
        """Build them, with all output so far in every output when `stream` is None.

        Raises RequestError for a value that vLLM refuses.
        """
        values = {name: self._make_object(name, value) for name, value in sampling.values.items()}
        if sampling.structured is not None:
            values.update(self._structured(sampling.structured))
        if logprobs and values.get("logprobs") is None:
            values["logprobs"] = 0
        if self._kinds is not None and stream is not None:
            values["output_kind"] = self._kinds.DELTA if stream else self._kinds.FINAL_ONLY
        try:
            params = self._params_class(**values)
            composite = not all(isinstance(value, SCALARS) for value in sampling.values.values())
            if self._check is not None and (composite or sampling.structured is not None):
                self._check(params)
        except Exception as error:
            raise RequestError(describe(error)) from None
        return params

    def _make_object(self, name: str, value: Any) -> Any:
        if name not in self._makers or not isinstance(value, dict):
            return value
        try:
            return self._makers[name](**value)
        except Exception as error:
            msg = f'parameter "{name}": {describe(error)}'
            raise RequestError(msg) from None

    def _structured(self, given: Mapping[str, Any]) -> dict[str, Any]:
        for field, class_name in (
            ("structured_outputs", "StructuredOutputsParams"),
            ("guided_decoding", "GuidedDecodingParams"),
        ):
            params_class = getattr(self._module, class_name, None)
            if field in self._all_fields and params_class is not None:
                known = [name for name in keywords_of(params_class) if not name.startswith("_")]
                for key in given:
                    if key not in known:
                        msg = f'parameter "{field}": unknown key "{key}"{did_you_mean(key, known)}'
                        raise RequestError(msg)
                try:
                    return {field: params_class(**given)}
                except Exception as error:
                    msg = f'parameter "{field}": {describe(error)}'
                    raise RequestError(msg) from None
        msg = "structured outputs are not available in this vLLM"
        raise RequestError(msg)


def make_prompt(prompt: str | Sequence[int], images: Sequence[Any]) -> Any:
    """Build a prompt for `generate`: the text itself, or a text or token ids with what goes with them."""
    if isinstance(prompt, str) and not images:
        return prompt
    made: dict[str, Any] = {"prompt": prompt} if isinstance(prompt, str) else {"prompt_token_ids": [*prompt]}
    if images:
        many: list[Any] = list(images)
        made["multi_modal_data"] = {"image": many if len(many) > 1 else many[0]}
    return made


def check_token_ids(token_ids: Sequence[int], vocab_size: int | None) -> None:
    """Raise RequestError for a prompt that the model cannot read.

    Early engines check nothing and die of it; vLLM 0.30 lets the first id beyond a vocabulary through.
    """
    if not token_ids:
        msg = GENERATING + "the prompt is empty"
        raise RequestError(msg)
    for token_id in (min(token_ids), max(token_ids)):
        if token_id < 0 or (vocab_size is not None and token_id >= vocab_size):
            msg = GENERATING + f"token id {token_id} is out of vocabulary"
            raise RequestError(msg)


def freeze_environment() -> None:
    """Let vLLM read its environment variables once, not with every output of the engine.

    vLLM does so itself, but only in the engine's process.
    """
    from vllm import envs

    if hasattr(envs, "enable_envs_cache"):
        envs.enable_envs_cache()


async def get_tokenizer(llm: Any) -> Any:
    """Return the tokenizer of whichever engine this is."""
    if hasattr(llm, "get_tokenizer"):
        tokenizer = llm.get_tokenizer()
        if inspect.isawaitable(tokenizer):  # a coroutine in most versions, 0.30 has a plain method
            tokenizer = await tokenizer
    else:
        tokenizer = llm.engine.tokenizer
    # Some versions wrap it in a group of tokenizers, one for each adapter.
    return getattr(tokenizer, "tokenizer", tokenizer)


async def get_tasks(llm: Any) -> frozenset[str] | None:
    """Return what the model can do, which engines tell from 0.10 on."""
    if not hasattr(llm, "get_supported_tasks"):
        return None
    return frozenset(await llm.get_supported_tasks())


def make_lora(lora: Any | None) -> Any:
    """Build vLLM's LoRARequest, whose first three arguments never changed their order."""
    if lora is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(lora.name, lora.number, lora.path)


def generate_arguments(job: GenerateJob) -> dict[str, Any]:
    """Return what a request can ask for beside its prompt and parameters, where `generate` takes it."""
    return {
        "lora_request": make_lora(job.lora),
        "trace_headers": job.trace_headers,
        "priority": job.priority or None,
    }


async def embed(llm: Any, keywords: frozenset[str], job: EmbedJob, model_config: Any) -> Embedding:
    """Compute a vector with the engine's `encode`, which takes `keywords`. Raises RequestError."""
    from vllm import PoolingParams

    available = keywords_of(PoolingParams)
    if job.dimensions is not None and "dimensions" not in available:
        msg = 'embedding_request: "dimensions" is not available with this vLLM'
        raise RequestError(msg)
    try:
        params = PoolingParams(**only(available, {"task": "embed", "dimensions": job.dimensions}))
        if hasattr(params, "verify"):
            # Sets the model's defaults too. Before 0.20 only vLLM's own servers did it, not its engine.
            known = {"task": "embed", "model_config": model_config}
            params.verify(**only(keywords_of(params.verify), known))
    except Exception as error:
        raise RequestError(describe(error)) from None
    arguments = {"lora_request": make_lora(job.lora), "trace_headers": job.trace_headers}
    final: Any = None
    async for output in llm.encode(job.prompt, params, job.request_id, **only(keywords, arguments)):
        final = output
    return _to_embedding(final)


def _to_embedding(output: Any) -> Embedding:
    """Read the vector out of vLLM's final output of an embedding request."""
    data = getattr(output.outputs, "data", None)
    vector = output.outputs.embedding if data is None else data.tolist()
    return Embedding([float(value) for value in vector], len(output.prompt_token_ids))
