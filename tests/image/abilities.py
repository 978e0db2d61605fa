"""What the vLLM of a row has, by its version: tests decide by it what to ask for, and what must be refused.

tests/unit/backend/test_abilities.py holds the versions to vLLM's own signatures.
"""

from __future__ import annotations

from packaging.version import Version

from tritonbuild.spec import BuildSpec

# Ability -> the first vLLM of the matrix that has it. Named as vLLM names the argument or parameter, where it is one.
SINCE = {
    "enforce_eager": Version("0.2.7"),
    "enable_lora": Version("0.3.0"),
    "seed": Version("0.3.3"),
    "min_tokens": Version("0.4.0.post1"),
    "scheduler statistics": Version("0.3.3"),
    "logit_bias": Version("0.6.3.post1"),
    "structured outputs": Version("0.6.3.post1"),
    "V1": Version("0.8.1"),
    "runner": Version("0.10.1.1"),
    "kv_cache_memory_bytes": Version("0.10.2"),
}


def counts_others(spec: BuildSpec) -> bool:
    """Tell whether the row's vLLM takes what other processes hold of a GPU for its own engine's."""
    return Version("0.3.0") <= Version(spec.vllm) < Version("0.3.3")


def has(spec: BuildSpec, ability: str) -> bool:
    """Tell whether the row's vLLM has an ability, one of SINCE."""
    return Version(spec.vllm) >= SINCE[ability]
