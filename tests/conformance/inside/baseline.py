"""Writes what the engine and `transformers` themselves say, without Triton and without our backend.

Reads its orders as JSON from the command line, and writes one line of JSON that begins with a mark.
"""

import json
import sys


def generate(orders):
    from vllm import LLM, SamplingParams

    engine = LLM(**orders["engine"])
    answers = {}
    for name, chosen in {"": {}, **choose_adapters(orders["loras"])}.items():
        params = SamplingParams(**orders["sampling"])
        outputs = engine.generate(orders["prompts"], params, use_tqdm=False, **chosen)
        answers[name] = [
            {
                "text": output.outputs[0].text,
                "logprobs": [
                    # A plain number before 0.3.
                    {token: getattr(entry, "logprob", entry) for token, entry in position.items()}
                    for position in output.outputs[0].logprobs
                ],
            }
            for output in outputs
        ]
    return answers


def choose_adapters(loras):
    """Return the argument of generate() by an adapter's name; early versions of vLLM have neither."""
    if not loras:
        return {}
    from vllm.lora.request import LoRARequest

    return {name: {"lora_request": LoRARequest(name, number, path)} for name, (path, number) in loras.items()}


def embed(orders):
    import torch
    from transformers import AutoTokenizer, LlamaModel

    tokenizer = AutoTokenizer.from_pretrained(orders["engine"]["model"])
    model = LlamaModel.from_pretrained(orders["engine"]["model"], torch_dtype=torch.float32)
    vectors = []
    for prompt in orders["prompts"]:
        with torch.no_grad():
            states = model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state
        vectors.append(torch.nn.functional.normalize(states[0, -1], dim=0).tolist())
    return vectors


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    vectors = embed(given) if given["vectors"] else []
    sys.stdout.write("baseline:" + json.dumps({"vectors": vectors, "answers": generate(given)}) + "\n")
