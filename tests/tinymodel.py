"""A model with random weights that runs as a real one does, and LoRA adapters for it.

One token is one byte of UTF-8, so the number of tokens of a text is known without the model, and
every grammar can be spelled. At temperature 0 the model writes printable ASCII and never ends by
itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tokenizer import number, write_json, write_tokenizer

LAYERS = 2
CONTEXT = 256
BYTES = 256
SPECIALS = ("<s>", "</s>", "<pad>")
VOCABULARY = BYTES + 16
PRINTABLE = range(32, 127)
RANK = 8
PROJECTIONS = ("q_proj", "v_proj")

Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


@dataclass(frozen=True)
class Size:
    """How wide the model is (as small as can be, unless told otherwise), and what its weights are drawn with."""

    hidden: int = 64
    heads: int = 2
    ffn: int = 128
    seed: int = 2024

    @property
    def factor(self) -> float:
        """What keeps the numbers in a wider model as large as in the small one."""
        return float((64 / self.hidden) ** 0.5)


def write_tiny_model(folder: Path, size: Size) -> None:
    """Write a Llama model that `transformers` and vLLM can load."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", _config(size))
    _write_tokenizer(folder)
    _write_tensors(folder / "model.safetensors", _weights(size))


def write_lora(folder: Path, seed: int, size: Size) -> None:
    """Write an adapter that changes what the model says."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    weights: Weights = {}
    for layer in range(LAYERS):
        for name in PROJECTIONS:
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{prefix}.lora_A.weight"] = _normal(random, 0.5 * size.factor, RANK, size.hidden)
            weights[f"{prefix}.lora_B.weight"] = _normal(random, 0.5, size.hidden, RANK)
    _write_tensors(folder / "adapter_model.safetensors", weights)
    write_json(
        folder / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": RANK,
            "lora_alpha": RANK,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": list(PROJECTIONS),
        },
    )


def count_tokens(text: str) -> int:
    """Return how many tokens a text has."""
    return len(text.encode())


def _config(size: Size) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "intermediate_size": size.ffn,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": BYTES,
        "eos_token_id": BYTES + 1,
        "pad_token_id": BYTES + 2,
        "torch_dtype": "float32",
        "vocab_size": VOCABULARY,
    }


def _weights(size: Size) -> Weights:
    hidden, ffn, scale = size.hidden, size.ffn, 0.2 * size.factor
    random = np.random.default_rng(size.seed)
    ones = np.ones(hidden, dtype=np.float32)
    weights: Weights = {
        "model.embed_tokens.weight": _normal(random, 1.0, VOCABULARY, hidden),
        "model.norm.weight": ones,
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights[f"{prefix}.self_attn.{name}.weight"] = _normal(random, scale, hidden, hidden)
        weights[f"{prefix}.mlp.gate_proj.weight"] = _normal(random, scale, ffn, hidden)
        weights[f"{prefix}.mlp.up_proj.weight"] = _normal(random, scale, ffn, hidden)
        weights[f"{prefix}.mlp.down_proj.weight"] = _normal(random, scale, hidden, ffn)
        weights[f"{prefix}.input_layernorm.weight"] = ones
        weights[f"{prefix}.post_attention_layernorm.weight"] = ones
    head = _normal(random, 0.3 * size.factor, VOCABULARY, hidden)
    # The best of 95 random numbers is above 0, so the others are never the likeliest.
    head[[token for token in range(VOCABULARY) if token not in PRINTABLE]] = 0
    weights["lm_head.weight"] = head
    return weights


def _normal(random: np.random.Generator, scale: float, *shape: int) -> Any:
    return (random.standard_normal(shape) * scale).astype(np.float32)


def _write_tokenizer(folder: Path) -> None:
    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    write_tokenizer(
        folder,
        {"type": "BPE", "vocab": vocabulary, "merges": []},
        number(SPECIALS, BYTES),
        pre_tokenizer=byte_level,
        decoder=byte_level,
        context=CONTEXT,
    )


def _byte_characters() -> list[str]:
    """Return the character that byte-level tokenizers write for each byte."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(BYTES, 2 * BYTES))
    return [chr(byte if byte in plain else next(spare)) for byte in range(BYTES)]


def _write_tensors(path: Path, tensors: Weights) -> None:
    """Write a safetensors file: the length of a JSON header, the header, the numbers."""
    # transformers before 5 reads no file that does not say so.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    # Padded, as readers expect the numbers at a multiple of eight.
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
