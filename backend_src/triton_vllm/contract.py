"""The tensors that every model of this backend takes and gives."""

from __future__ import annotations

from typing import Any

INPUTS: list[dict[str, Any]] = [
    {"name": "text_input", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
    {"name": "messages", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
    {"name": "input_token_ids", "data_type": "TYPE_INT64", "dims": [-1], "optional": True},
    {"name": "image", "data_type": "TYPE_STRING", "dims": [-1], "optional": True},
    {"name": "stream", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "sampling_parameters", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
    {"name": "exclude_input_in_output", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "return_finish_reason", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "return_cumulative_logprob", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "return_logprobs", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "return_num_input_tokens", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "return_num_output_tokens", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "return_token_ids", "data_type": "TYPE_BOOL", "dims": [1], "optional": True},
    {"name": "embedding_request", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
]

OUTPUTS: list[dict[str, Any]] = [
    {"name": "text_output", "data_type": "TYPE_STRING", "dims": [-1]},
    {"name": "finish_reason", "data_type": "TYPE_STRING", "dims": [-1]},
    {"name": "cumulative_logprob", "data_type": "TYPE_FP32", "dims": [-1]},
    {"name": "logprobs", "data_type": "TYPE_STRING", "dims": [-1]},
    {"name": "num_input_tokens", "data_type": "TYPE_UINT32", "dims": [1]},
    {"name": "num_output_tokens", "data_type": "TYPE_UINT32", "dims": [-1]},
    {"name": "token_ids", "data_type": "TYPE_STRING", "dims": [-1]},
]

FLAGS = tuple(entry["name"] for entry in INPUTS if entry["data_type"] == "TYPE_BOOL")


def complete_config(config: Any) -> Any:
    """Add to a `pb_utils.ModelConfig` the tensors and policies that it does not name itself."""
    named = config.as_dict()
    inputs = {entry["name"] for entry in named["input"]}
    outputs = {entry["name"] for entry in named["output"]}
    can_say_all = hasattr(config, "set_model_transaction_policy")
    for entry in INPUTS:
        if entry["name"] in inputs:
            continue
        if can_say_all:
            config.add_input(entry)
        else:
            # Triton 2.39 takes optional inputs, but its `add_input` knows no such word.
            named["input"].append(dict(entry))
    for entry in OUTPUTS:
        if entry["name"] not in outputs:
            config.add_output(entry)
    # Requests go to the engine one by one, and the engine batches them itself.
    config.set_max_batch_size(0)
    if can_say_all:
        config.set_model_transaction_policy({"decoupled": True})
    # Elsewhere only config.pbtxt can set the policy; `read_settings` asks for it.
    return config
