"""A backend that tells which Python the stub is, and answers a string with a string."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        config = auto_complete_model_config
        config.add_input({"name": "text_input", "data_type": "TYPE_STRING", "dims": [1]})
        config.add_output({"name": "text_output", "data_type": "TYPE_STRING", "dims": [1]})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args):  # noqa: ARG002  (Triton's signature)
        vllm = find_spec("vllm")
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        library = {line.split()[-1] for line in maps.splitlines() if "libpython" in line}
        facts = {
            "sys.executable": sys.executable,
            "sys.prefix": sys.prefix,
            "sys.base_prefix": sys.base_prefix,
            "sys.version": sys.version.split()[0],
            "sys.path": sys.path,
            "libpython": sorted(library),
            "cwd": Path.cwd(),
            "PATH": os.environ.get("PATH"),
            "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV"),
            "numpy": np.__version__,
            "vllm": vllm and vllm.origin,
        }
        for name, value in facts.items():
            sys.stdout.write(f"stub: {name} = {value}\n")
        sys.stdout.flush()

    def execute(self, requests):
        responses = []
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
            output = pb_utils.Tensor("text_output", np.array([text[0] + b"!"], dtype=np.object_))
            responses.append(pb_utils.InferenceResponse([output]))
        return responses
