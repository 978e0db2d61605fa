"""The GPUs of a place, as its own nvidia-smi tells."""

from __future__ import annotations

from dataclasses import dataclass

from tests.image.places import Place
from tests.image.serving import check_output

_FIELDS = ("uuid", "name", "driver_version", "compute_cap", "memory.total", "memory.used")
MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """A GPU; memory in bytes."""

    uuid: str
    name: str
    driver: str
    capability: str
    memory: int
    used: int


def read_gpus(place: Place) -> list[Gpu]:
    """Return the GPUs that a place has, in the order of their numbers."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    found = []
    for line in check_output(place, command).strip().splitlines():
        uuid, name, driver, capability, memory, used = (word.strip() for word in line.split(","))
        found.append(Gpu(uuid, name, driver, capability, int(memory) * MIB, int(used) * MIB))
    return found
