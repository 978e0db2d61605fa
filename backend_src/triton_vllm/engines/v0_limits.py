"""What an early V0 engine must not be given: it dies of it, or never answers anybody again.

Its loop ends with any error but a ValueError, which it raises for little (seen with 0.5.3.post1 and
0.3.0). Late versions refuse all of this themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triton_vllm.errors import RequestError, one_line

# How models are called that make vectors, as tasks and as runners.
POOLING = frozenset({"pooling", "embedding", "embed", "score", "classify", "reward"})


@dataclass(frozen=True)
class Limits:
    """An engine's limits, None for one that it does not tell, or that it looks after itself."""

    vocab_size: int | None = None
    max_sequences: int | None = None
    max_model_len: int | None = None
    max_images: int | None = None


def read_limits(engine: Any) -> Limits:
    """Read what vLLM's LLMEngine tells of itself."""
    model = getattr(engine, "model_config", None)
    if model is None:
        return Limits()
    scheduler = getattr(engine, "scheduler_config", None)
    return Limits(
        vocab_size=_vocab_size(engine, model),
        max_sequences=None if _splits_requests() else getattr(scheduler, "max_num_seqs", None),
        max_model_len=getattr(model, "max_model_len", None),
        max_images=_count_images(model),
    )


def contain_errors(engine: Any) -> None:
    """Let whatever goes wrong while a request is taken in be that request's error alone.

    From 0.4.1 on a ValueError is; anything else (a broken grammar with 0.6.3, say) would end the engine.
    """
    take_in = getattr(engine, "add_request_async", None)
    if take_in is None:
        return

    async def add_request_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await take_in(*args, **kwargs)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(one_line(error)) from error

    engine.add_request_async = add_request_async


def find_tasks(engine: Any) -> frozenset[str] | None:
    """Return what a model can do, as early versions tell it; asked for anything else, they die."""
    model = getattr(engine, "model_config", None)
    if hasattr(model, "embedding_mode"):  # 0.4.3 to 0.6.3
        return frozenset({"embed" if model.embedding_mode else "generate"})
    runner = getattr(model, "runner_type", None) or getattr(model, "task", None)
    if not isinstance(runner, str):
        return None
    return frozenset({"embed" if runner in POOLING else "generate"})


def check_params(params: Any, limits: Limits) -> None:
    """Raise RequestError for sampling parameters that vLLM's own checks let through."""
    sequences = count_sequences(params)
    if limits.max_sequences is not None and sequences > limits.max_sequences:
        name = "best_of" if getattr(params, "best_of", None) == sequences != params.n else "n"
        msg = f'parameter "{name}" is {sequences}, and this engine runs {limits.max_sequences} sequences at once'
        raise RequestError(msg)
    if limits.vocab_size is not None and getattr(params, "min_tokens", 0):
        for token_id in params.stop_token_ids or ():
            if not 0 <= token_id < limits.vocab_size:
                msg = f'parameter "stop_token_ids": {token_id} is out of vocabulary'
                raise RequestError(msg)
    if getattr(params, "use_beam_search", False) and limits.max_model_len is not None:
        _check_length_penalty(params.length_penalty, limits.max_model_len)


def check_images(count: int, limits: Limits) -> None:
    """Raise RequestError for more images than the model takes."""
    if limits.max_images is not None and count > limits.max_images:
        few = f"takes {limits.max_images} in a request, got {count}" if limits.max_images else "takes none"
        msg = f'input "image": this model {few}'
        raise RequestError(msg)


def count_sequences(params: Any) -> int:
    """Return how many sequences the engine makes of a request, of which it returns the best."""
    return int(getattr(params, "best_of", None) or params.n or 1)


def is_ranked(params: Any, limits: Limits) -> bool:
    """Return whether the engine chooses its answer among more sequences, so that it is known at the end."""
    returned = getattr(params, "_real_n", None) or params.n or 1
    if getattr(params, "use_beam_search", False) or count_sequences(params) > returned:
        return True
    # 0.6.3 numbers sequences by how likely they are so far, so that a number is now this one, now that.
    return returned > 1 and hasattr(params, "_real_n") and limits.max_sequences is not None


def _check_length_penalty(penalty: float, longest: int) -> None:
    # A sum is divided by this.
    try:
        fits = float(longest) ** penalty > 0
    except OverflowError:
        fits = False
    if not fits:
        msg = f'parameter "length_penalty" is {penalty:g}, which is out of range'
        raise RequestError(msg)


def _splits_requests() -> bool:
    """Return whether this vLLM makes n requests of one for n sequences, so that they need not fit together."""
    try:
        from vllm.sequence import ParallelSampleSequenceGroup
    except ImportError:
        return False
    return ParallelSampleSequenceGroup is not None


def _vocab_size(engine: Any, model: Any) -> int | None:
    text = getattr(model, "hf_text_config", None) or getattr(model, "hf_config", None)
    size = getattr(text, "vocab_size", None)
    if size is None:
        return None
    added = getattr(getattr(engine, "lora_config", None), "lora_extra_vocab_size", 0)
    return int(size) + int(added)


def _count_images(model: Any) -> int | None:
    """Return how many images a request may have, None where vLLM does not tell."""
    if not hasattr(model, "multimodal_config"):
        return None
    config = model.multimodal_config
    if config is None:
        return 0
    if hasattr(config, "get_limit_per_prompt"):
        return int(config.get_limit_per_prompt("image"))
    limits = getattr(config, "limit_per_prompt", None)
    if limits is not None:
        return int(limits.get("image", 1))
    return int(_is_vision_model(model))


def _is_vision_model(model: Any) -> bool:
    # Up to 0.5.4 every model has a multimodal configuration.
    try:
        from vllm.model_executor.models import ModelRegistry
        from vllm.model_executor.models.interfaces import supports_vision
    except ImportError:
        return True
    classes = [ModelRegistry.load_model_cls(name) for name in model.hf_config.architectures]
    return any(found is not None and supports_vision(found) for found in classes)
