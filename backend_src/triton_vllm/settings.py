"""What Triton tells a model instance at start: its name, its folder, its options."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm.errors import ModelError, shown

ON = frozenset({"yes", "true", "on", "1"})
OFF = frozenset({"no", "false", "off", "0", ""})
FAILURE_ACTIONS = ("unload", "stop", "keep")


@dataclass(frozen=True)
class Settings:
    """The part of Triton's `args` that the backend uses."""

    model_name: str
    model_version: str
    version_dir: str
    instance_kind: str
    device_id: int
    report_metrics: bool
    health_check: bool
    on_engine_failure: str | None
    apply_chat_template: bool
    gpu_device_ids: tuple[int, ...]

    @property
    def engine_args_path(self) -> str:
        return os.path.join(self.version_dir, "model.json")

    @property
    def lora_path(self) -> str:
        return os.path.join(self.version_dir, "multi_lora.json")


def read_settings(args: Mapping[str, str]) -> Settings:
    """Read the arguments of `initialize`. Raises ModelError for a value that is not allowed."""
    config = json.loads(args["model_config"])
    parameters = config.get("parameters", {})
    policy = config.get("model_transaction_policy", {})
    if not policy.get("decoupled", False):
        msg = "config.pbtxt: model_transaction_policy { decoupled: true } is required"
        raise ModelError(msg)
    return Settings(
        model_name=args["model_name"],
        model_version=args["model_version"],
        version_dir=os.path.join(args["model_repository"], args["model_version"]),
        instance_kind=args["model_instance_kind"],
        device_id=int(args.get("model_instance_device_id") or 0),
        report_metrics=_switch(parameters, "REPORT_CUSTOM_METRICS"),
        health_check=_switch(parameters, "ENABLE_VLLM_HEALTH_CHECK"),
        on_engine_failure=_choice(parameters, "ON_ENGINE_FAILURE", FAILURE_ACTIONS),
        apply_chat_template=_switch(parameters, "APPLY_CHAT_TEMPLATE"),
        gpu_device_ids=_numbers(parameters, "GPU_DEVICE_IDS"),
    )


def _text(parameters: Mapping[str, Any], name: str) -> str:
    return str(parameters.get(name, {}).get("string_value", "")).strip()


def _switch(parameters: Mapping[str, Any], name: str) -> bool:
    value = _text(parameters, name)
    if value.lower() in ON:
        return True
    if value.lower() in OFF:
        return False
    msg = f'config.pbtxt: parameter {name} is {shown(value)}, allowed are "true" and "false"'
    raise ModelError(msg)


def _numbers(parameters: Mapping[str, Any], name: str) -> tuple[int, ...]:
    value = _text(parameters, name)
    items = [item.strip() for item in value.split(",")] if value else []
    if all(item.isascii() and item.isdigit() for item in items) and len(set(items)) == len(items):
        return tuple(int(item) for item in items)
    msg = f"config.pbtxt: parameter {name} is {shown(value)}, it must be like 0,1 with no number twice"
    raise ModelError(msg)


def _choice(parameters: Mapping[str, Any], name: str, allowed: Any) -> str | None:
    value = _text(parameters, name).lower()
    if not value:
        return None
    if value not in allowed:
        msg = f"config.pbtxt: parameter {name} is {shown(value)}, allowed are {', '.join(allowed)}"
        raise ModelError(msg)
    return value
