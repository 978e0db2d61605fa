"""Prints what the measurements stand on: `python -m benchmarks.offline.facts imports|stub ...`."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks import triton
from benchmarks.machine import describe, versions
from benchmarks.offline.names import FOLDER

MODULES = (
    "torch",
    "vllm",
    "vllm._C",
    "vllm._moe_C",
    "vllm.platforms.cuda",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.attention.backends.flash_attn",
    "vllm.model_executor.models.opt",
)


def imports() -> bool:
    """Import what the three targets import, and use the GPU once."""
    _say(f"versions: {json.dumps(versions())}")
    _say(f"machine: {json.dumps(describe())}")
    failed = [name for name in MODULES if not _works(lambda name=name: importlib.import_module(name), name)]
    return not failed and _works(_use_gpu, "a product on the GPU")


def stub(server: Path, port: int) -> bool:
    """Start Triton with a backend that tells about the stub, and ask it once."""
    with tempfile.TemporaryDirectory(prefix="facts-") as temporary:
        work = Path(temporary)
        tree = triton.assemble(server, FOLDER / "stub_facts", work)
        repository = triton.write_repository(work, "facts", {})
        running = triton.make_server(tree, repository, "facts", port, work / "facts.log")
        try:
            return _works(lambda: _ask(running.start(), port), "Triton and its Python stub")
        finally:
            seconds, code = running.stop()
            log = (work / "facts.log").read_text(encoding="utf-8", errors="replace").splitlines()
            _say("\n".join(line for line in log if line.startswith("stub: ")) or "\n".join(log[-60:]))
            _say(f"stopped after {seconds:.1f} s, exit code {code}")


def _ask(seconds: float, port: int) -> None:
    _say(f"ready after {seconds:.1f} s")
    url = f"http://127.0.0.1:{port}/v2/models/facts/generate"
    with urllib.request.urlopen(url, data=b'{"text_input": "a string"}', timeout=20) as answer:
        text = json.load(answer)["text_output"]
    if text != "a string!":
        msg = f"the stub answered {text!r}"
        raise ValueError(msg)


def _use_gpu() -> None:
    import torch

    half = torch.ones(64, 64, device="cuda", dtype=torch.float16)
    _say(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {float((half @ half)[0, 0]):.0f} = 64")


def _works(action: Callable[[], object], name: str) -> bool:
    began = time.monotonic()
    try:
        action()
    except BaseException:
        _say(f"FAILED: {name}\n{traceback.format_exc()}")
        return False
    _say(f"{time.monotonic() - began:6.2f} s  {name}")
    return True


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    good = imports() if sys.argv[1] == "imports" else stub(Path(sys.argv[2]), int(sys.argv[3]))
    sys.exit(0 if good else 1)
