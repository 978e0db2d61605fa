"""Settings, devices, adapters, errors: what needs only a few lines each."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from triton_vllm import contract, lora
from triton_vllm.device import visible_devices
from triton_vllm.embeddings import make_embed_job
from triton_vllm.engines.selection import leave_a_slot
from triton_vllm.errors import ModelError, RequestError, did_you_mean, one_line
from triton_vllm.requests import EmbedRequest
from triton_vllm.settings import Settings, read_settings


def read(parameters: dict[str, str], decoupled: bool = True) -> Settings:
    config = {
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
        "model_transaction_policy": {"decoupled": decoupled},
    }
    return read_settings(
        {
            "model_config": json.dumps(config),
            "model_name": "m",
            "model_version": "1",
            "model_repository": "/models/m",
            "model_instance_kind": "MODEL",
            "model_instance_device_id": "0",
        }
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [("yes", True), ("true", True), ("True", True), ("no", False), ("false", False), ("", False)],
)
def test_metrics_are_switched_on_by_either_spelling(value: str, expected: bool) -> None:
    assert read({"REPORT_CUSTOM_METRICS": value}).report_metrics is expected


def test_metrics_and_health_check_are_off_by_default() -> None:
    settings = read({})
    assert not settings.report_metrics
    assert not settings.health_check
    assert settings.engine_args_path == "/models/m/1/model.json"


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="REPORT_CUSTOM_METRICS is 'ja'"):
        read({"REPORT_CUSTOM_METRICS": "ja"})


def test_a_model_that_is_not_decoupled_is_refused() -> None:
    with pytest.raises(ModelError, match="decoupled"):
        read({}, decoupled=False)


class OldModelConfig:
    """The helper of Triton 2.39, as far as it is used."""

    def __init__(self, **config: Any) -> None:
        self.config = {"input": [], "output": [], **config}

    def as_dict(self) -> dict[str, Any]:
        return self.config

    def add_input(self, entry: dict[str, Any]) -> None:
        if set(entry) != {"name", "data_type", "dims"}:
            msg = "contains property other than 'name', 'data_type' and 'dims'"
            raise ValueError(msg)
        self.config["input"].append(entry)

    def add_output(self, entry: dict[str, Any]) -> None:
        self.config["output"].append(entry)

    def set_max_batch_size(self, size: int) -> None:
        self.config["max_batch_size"] = size


class ModelConfig(OldModelConfig):
    """The helper of every later Triton."""

    def add_input(self, entry: dict[str, Any]) -> None:
        self.config["input"].append(entry)

    def set_model_transaction_policy(self, policy: dict[str, Any]) -> None:
        self.config["model_transaction_policy"] = policy


@pytest.mark.parametrize("kind", [ModelConfig, OldModelConfig])
def test_the_configuration_is_completed(kind: type[OldModelConfig]) -> None:
    own = {"name": "stream", "data_type": "TYPE_BOOL", "dims": [1]}
    config = contract.complete_config(kind(input=[own])).config
    assert config["input"][0] == own
    # All that a request may leave out.
    assert config["input"][1:] == [entry for entry in contract.INPUTS if entry["name"] != "stream"]
    assert all(entry["optional"] for entry in config["input"][1:])
    assert config["output"] == contract.OUTPUTS
    assert config["max_batch_size"] == 0
    # Triton 2.39 takes it from config.pbtxt alone.
    assert config.get("model_transaction_policy") == ({"decoupled": True} if kind is ModelConfig else None)


def test_an_instance_on_a_gpu_sees_only_that_one() -> None:
    assert visible_devices("GPU", 3, {}) == "3"
    assert visible_devices("MODEL", 3, {"tensor_parallel_size": 2}) is None


def test_gpus_may_be_chosen_by_number() -> None:
    two = {"tensor_parallel_size": 2, "pipeline_parallel_size": 1}
    assert visible_devices("MODEL", 0, two, (3, 1)) == "3,1"
    with pytest.raises(ModelError, match=r"GPU_DEVICE_IDS names 1 GPUs, and model\.json needs 2"):
        visible_devices("MODEL", 0, two, (3,))
    with pytest.raises(ModelError, match="GPU_DEVICE_IDS is for KIND_MODEL"):
        visible_devices("GPU", 0, {}, (3,))


@pytest.mark.parametrize(("on_cpu", "given", "expected"), [(True, 1, 3), (True, 5, 5), (False, 1, 1)])
def test_on_a_cpu_one_slot_for_adapters_stays_empty(
    on_cpu: bool, given: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    platforms = types.ModuleType("vllm.platforms")
    platforms.current_platform = types.SimpleNamespace(is_cpu=lambda: on_cpu)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    assert leave_a_slot({"max_loras": given}, 2) == {"max_loras": expected}


@pytest.mark.parametrize("key", ["tensor_parallel_size", "pipeline_parallel_size"])
def test_several_gpus_need_kind_model(key: str) -> None:
    with pytest.raises(ModelError, match="please specify KIND_MODEL"):
        visible_devices("GPU", 0, {key: 2})


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("true", True), ("false", False), (None, False)]
)
def test_lora_may_be_enabled_by_a_boolean_or_a_string(value: Any, expected: bool) -> None:
    assert lora.is_enabled({"enable_lora": value}) is expected


def test_adapters_are_numbered_and_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "multi_lora.json"
    path.write_text('{"doll": "/a", "sheep": "org/b"}')
    loras = lora.read_loras(str(path))
    assert lora.choose_lora("sheep", loras) == lora.Lora("sheep", 2, "org/b")
    assert lora.choose_lora(None, loras) is None
    with pytest.raises(RequestError) as caught:
        lora.choose_lora("cat", loras)
    assert str(caught.value) == "LoRA cat is not supported, we currently support ['doll', 'sheep']"
    with pytest.raises(RequestError) as caught:
        lora.choose_lora("cat", None)
    assert str(caught.value) == "LoRA feature is not enabled."


def test_a_missing_list_of_adapters_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"multi_lora\.json"):
        lora.read_loras(str(tmp_path / "multi_lora.json"))


def test_messages_are_one_line_without_addresses() -> None:
    assert one_line(ValueError("a\n  b <_io.BytesIO object at 0x7f00>")) == "a b <_io.BytesIO object>"
    assert one_line(ValueError()) == "ValueError"
    assert did_you_mean("zzz", ["temperature"]) == ""


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        ({"input": "a"}, "a"),
        ({"input": ["a"]}, "a"),
        ({"input": [1, 2]}, {"prompt_token_ids": [1, 2]}),
    ],
)
def test_an_embedding_takes_a_text_or_token_ids(body: dict[str, Any], prompt: Any) -> None:
    assert make_embed_job("id", EmbedRequest(body)).prompt == prompt


@pytest.mark.parametrize(
    "body", [{}, {"input": ["a", "b"]}, {"input": [True]}, {"input": "a", "dimensions": "x"}]
)
def test_an_embedding_of_anything_else_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="embedding_request"):
        make_embed_job("id", EmbedRequest(body))


@pytest.mark.parametrize(
    "body",
    [
        {"input": "a", "dimensions": 16},
        {"input": "a", "pooling_params": {"dimensions": 16}},
        {"input": "a", "pooling_params": {"dimensions": [16]}},
    ],
)
def test_an_embedding_may_be_given_a_number_of_dimensions(body: dict[str, Any]) -> None:
    assert make_embed_job("id", EmbedRequest(body)).dimensions == 16
