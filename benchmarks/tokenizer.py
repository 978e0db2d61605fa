"""Writes the tokenizer of a model with random weights, for `transformers` to load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What transformers calls each special token.
ROLES = {"<s>": "bos_token", "</s>": "eos_token", "<pad>": "pad_token", "<unk>": "unk_token"}


def write_tokenizer(
    folder: Path,
    model: Mapping[str, Any],
    specials: Mapping[str, int],
    *,
    pre_tokenizer: Mapping[str, Any],
    decoder: Mapping[str, Any] | None,
    context: int,
) -> None:
    """Write both files of a tokenizer around ``model``, which holds its vocabulary.

    ``specials`` are tokens that no text shows (keys of ROLES) and their ids; ``context`` is in tokens.
    """
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": token_id, "content": special, **flags, "special": True}
        for special, token_id in specials.items()
    ]
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{ROLES[special]: special for special in specials},
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer.json", whole)
    write_json(folder / "tokenizer_config.json", config)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def number(specials: Sequence[str], first: int) -> dict[str, int]:
    """Return special tokens with ids from ``first`` on."""
    return {special: token_id for token_id, special in enumerate(specials, first)}
