"""Triton's entry point of the vLLM backend."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

from triton_vllm import contract
from triton_vllm.backend import Backend
from triton_vllm.errors import BackendError


class TritonPythonModel:
    """One instance of a model; see the package `triton_vllm` for all that it does."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Add the backend's inputs and outputs to the model's configuration."""
        return contract.complete_config(auto_complete_model_config)

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine. Raises TritonModelException with one line when it cannot."""
        self._backend: Backend | None = None
        try:
            self._backend = Backend(args, pb_utils)
        except BackendError as error:
            message = str(error)
        else:
            return
        raise pb_utils.TritonModelException(message)

    def execute(self, requests: list[Any]) -> None:
        """Hand requests to the engine; responses go out on their own."""
        if self._backend is not None:
            self._backend.execute(requests)

    def is_ready(self) -> bool:
        """Tell whether the engine lives (asked for by newer servers)."""
        return self._backend is not None and self._backend.is_ready()

    def finalize(self) -> None:
        """Finish the requests on their way and stop the engine."""
        if self._backend is not None:
            self._backend.stop()
            self._backend = None
