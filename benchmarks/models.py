"""Writes models with random weights: a config and a tokenizer, for `load_format: dummy`.

Every entry of the vocabulary is one word that holds the letter `w` exactly once, so whoever sees
a text can count its tokens without asking the server for more than it sends anyway. The special
tokens, which no text shows, come last: where logits tie, an engine takes the first token.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.tokenizer import number, write_json, write_tokenizer

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")


@dataclass(frozen=True)
class Shape:
    """The size of an OPT model."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int
    dtype: str
    positions: int = 2048


SHAPES = {
    # So small that what is measured is the front end; early vLLMs have no heads narrower than these.
    "tiny-opt": Shape(layers=2, hidden=128, heads=2, ffn=256, vocab=8000, dtype="bfloat16"),
    # facebook/opt-125m.
    "opt-125m": Shape(layers=12, hidden=768, heads=12, ffn=3072, vocab=50272, dtype="float16"),
}


def word(token_id: int) -> str:
    """Return the text of a token."""
    return f"w{token_id:05d}"


def count_words(text: str) -> int:
    """Return how many tokens a text of such a model has."""
    return text.count("w")


def write_model(name: str, folder: Path) -> Path:
    """Write the model's files to folder/name and return that path."""
    shape = SHAPES[name]
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "config.json", _config(shape))
    write_json(path / "shape.json", asdict(shape))
    _write_tokenizer(shape, path)
    return path


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "activation_function": "relu",
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "pad_token_id": shape.vocab - 4,
        "bos_token_id": shape.vocab - 3,
        "eos_token_id": shape.vocab - 2,
        "do_layer_norm_before": True,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "ffn_dim": shape.ffn,
        "hidden_size": shape.hidden,
        "word_embed_proj_dim": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "max_position_embeddings": shape.positions,
        "tie_word_embeddings": True,
        "torch_dtype": shape.dtype,
        "vocab_size": shape.vocab,
    }


def _write_tokenizer(shape: Shape, folder: Path) -> None:
    words = shape.vocab - len(SPECIALS)
    specials = number(SPECIALS, words)
    vocabulary = {word(token_id): token_id for token_id in range(words)} | specials
    write_tokenizer(
        folder,
        {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        specials,
        pre_tokenizer={"type": "WhitespaceSplit"},
        # Words with a blank between them, as without a decoder, which early vLLMs do not work without.
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": False},
        context=shape.positions,
    )
