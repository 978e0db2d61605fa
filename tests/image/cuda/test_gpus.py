"""The image finds the GPUs of its host, and they are what the row needs."""

from __future__ import annotations

import json
import re
import time

from packaging.version import Version

from tests.image.cuda.gpus import Gpu
from tests.image.places import METRICS, Place
from tests.image.serving import Server, check_output
from tritonbuild.spec import BuildSpec

_METRIC = re.compile(r'^(nv_gpu_\w+)\{gpu_uuid="([^"]+)"\} ([0-9.e+]+)$', re.MULTILINE)
# Multiplies on each GPU: a library that does not fit the driver shows with the first kernel.
_TORCH = """
import json, torch
sums = [(torch.ones(8, 8, device=f"cuda:{i}") @ torch.ones(8, 8, device=f"cuda:{i}")).sum().item()
        for i in range(torch.cuda.device_count())]
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "sums": sums, "names": names}))
"""


def test_driver_is_new_enough_for_the_row(gpu_list: list[Gpu], spec: BuildSpec) -> None:
    needed, driver = spec.driver_min, gpu_list[0].driver
    assert needed
    assert Version(driver) >= Version(needed), (
        f"driver {driver} of this host is too old: CUDA {spec.cuda} of {spec.row} needs {needed} or newer"
    )


def test_every_gpu_has_the_compute_capability_of_the_row(gpu_list: list[Gpu], spec: BuildSpec) -> None:
    needed = Version(spec.compute_capability_min or "0")
    old = [f"{gpu.name} has {gpu.capability}" for gpu in gpu_list if Version(gpu.capability) < needed]
    assert not old, f"{spec.row} needs compute capability {needed} or newer: {', '.join(old)}"


def test_torch_computes_on_every_gpu_and_is_the_pinned_build(
    gpu_box: Place, gpu_list: list[Gpu], spec: BuildSpec
) -> None:
    printed = check_output(gpu_box, ["python3", "-W", "ignore", "-c", _TORCH])
    found = json.loads(printed.strip().splitlines()[-1])
    assert found["sums"] == [512.0] * len(gpu_list)
    assert sorted(found["names"]) == sorted(gpu.name for gpu in gpu_list)
    if spec.torch:  # of a base that brings vLLM, only NVIDIA knows the torch
        assert found["torch"].partition("+")[0] == spec.torch.partition("+")[0]
        assert spec.cuda
        assert found["cuda"].split(".")[:2] == spec.cuda.split(".")[:2]


def read_gpu_metrics(server: Server) -> dict[tuple[str, str], float]:
    """Return the server's metrics of GPUs, by name and GPU."""
    page = server.get("/metrics", port=METRICS).text
    return {(name, uuid): float(value) for name, uuid, value in _METRIC.findall(page)}


def test_metrics_page_reports_every_gpu(server: Server, gpu_list: list[Gpu]) -> None:
    # The server asks its GPUs every two seconds; a page of before the first time holds zeros.
    deadline = time.monotonic() + 20
    found = read_gpu_metrics(server)
    while time.monotonic() < deadline and not all(
        found.get(("nv_gpu_memory_used_bytes", gpu.uuid)) for gpu in gpu_list
    ):
        time.sleep(0.5)
        found = read_gpu_metrics(server)
    for gpu in gpu_list:
        total = found["nv_gpu_memory_total_bytes", gpu.uuid]
        assert abs(total - gpu.memory) < 0.05 * gpu.memory
        assert 0 < found["nv_gpu_memory_used_bytes", gpu.uuid] < total
        assert ("nv_gpu_utilization", gpu.uuid) in found
