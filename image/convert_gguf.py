"""Convert a GGUF checkpoint into a Hugging Face folder of bf16 safetensors.

Runs in the model stage of the image build, never in the image itself:
    python3 convert_gguf.py CHECKPOINT.gguf OUTPUT_DIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(checkpoint: Path, output: Path) -> None:
    """Write config, tokenizer (with its chat template) and weights of ``checkpoint`` to ``output``."""
    folder, name = str(checkpoint.parent), checkpoint.name
    # Without `dequantize` transformers 5 keeps the weights packed and cannot save them.
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)

    # The saved config still says "quantized as GGUF"; an engine would look for a kernel for it.
    config_file = output / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: convert_gguf.py CHECKPOINT.gguf OUTPUT_DIR")
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
