#!/usr/bin/env python3
"""Send prompts to a model of the vLLM backend over gRPC and write down what it answers."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

# On a base image that brings vLLM the client's own packages lie here, and come last.
sys.path.append(str(Path(__file__).resolve().parent / "site-packages"))

import grpc
import numpy as np
import tritonclient.grpc.aio as grpcclient
from tritonclient.utils import InferenceServerException


class ClientError(Exception):
    """What ends the client with a message of one line."""


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", default="vllm_model", help="model name")
    parser.add_argument("-v", "--verbose", action="store_true", help="print requests and answers")
    parser.add_argument("-u", "--url", default="localhost:8001", help="the server's gRPC address")
    parser.add_argument("-t", "--stream-timeout", type=float, help="seconds after which to give up")
    parser.add_argument("--offset", type=int, default=0, help="number added to the request ids")
    parser.add_argument(
        "--input-prompts", type=Path, default=Path("prompts.txt"), help="a file, a prompt per line"
    )
    parser.add_argument("--results-file", type=Path, default=Path("results.txt"), help="where the answers go")
    parser.add_argument("-i", "--iterations", type=positive, default=1, help="how often to send the prompts")
    parser.add_argument("-s", "--streaming-mode", action="store_true", help="ask for the text as it is made")
    parser.add_argument(
        "--exclude-inputs-in-outputs",
        action="store_true",
        help="leave the prompt out of the answer (always so with --streaming-mode)",
    )
    parser.add_argument("-l", "--lora-name", help="the LoRA adapter to use")
    parser.add_argument(
        "--sampling-parameters",
        type=json_object,
        default={"temperature": 0.1, "top_p": 0.95, "max_tokens": 100},
        help="a JSON object (default: %(default)s)",
    )
    return parser.parse_args(argv)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        msg = f"{value} is less than 1"
        raise argparse.ArgumentTypeError(msg)
    return value


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        msg = f"not JSON: {error}"
        raise argparse.ArgumentTypeError(msg) from None
    if not isinstance(value, dict):
        msg = "not a JSON object"
        raise argparse.ArgumentTypeError(msg)
    return value


def make_request(options: argparse.Namespace, prompt: str, request_id: str) -> dict[str, Any]:
    """Build what `stream_infer` sends for one prompt."""
    sampling = dict(options.sampling_parameters)
    if options.lora_name:
        sampling["lora_name"] = options.lora_name
    exclude = options.exclude_inputs_in_outputs or options.streaming_mode
    return {
        "model_name": options.model,
        "request_id": request_id,
        "inputs": [
            text_tensor("text_input", prompt),
            flag_tensor("stream", options.streaming_mode),
            text_tensor("sampling_parameters", json.dumps(sampling)),
            flag_tensor("exclude_input_in_output", exclude),
        ],
        "outputs": [grpcclient.InferRequestedOutput("text_output")],
    }


def text_tensor(name: str, value: str) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode("utf-8")], dtype=np.object_))
    return tensor


def flag_tensor(name: str, value: bool) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput(name, [1], "BOOL")
    tensor.set_data_from_numpy(np.array([value], dtype=bool))
    return tensor


async def make_requests(
    options: argparse.Namespace, prompts: list[str], results: dict[str, list[str]]
) -> AsyncIterator[dict[str, Any]]:
    number = options.offset
    for _ in range(options.iterations):
        for prompt in prompts:
            request_id = str(number)
            results[request_id] = []
            if options.verbose:
                print(f"request {request_id}: {prompt}")
            yield make_request(options, prompt, request_id)
            number += 1


async def collect(options: argparse.Namespace, prompts: list[str]) -> dict[str, list[str]]:
    """Send all prompts at once and return the texts by request id. Raises ClientError.

    The stream is left when every request has had its last response: Triton 2.47 does not always end it.
    """
    results: dict[str, list[str]] = {}
    unanswered = options.iterations * len(prompts)
    async with grpcclient.InferenceServerClient(options.url) as client:
        answers = client.stream_infer(
            inputs_iterator=make_requests(options, prompts, results),
            stream_timeout=options.stream_timeout,
        )
        async for result, error in answers:
            if error is not None:
                raise ClientError(error.message())
            response = result.get_response()
            texts = [text.decode("utf-8") for text in result.as_numpy("text_output")]
            if options.verbose:
                print(f"answer {response.id}: {texts}")
            results[response.id] += texts
            if response.parameters["triton_final_response"].bool_param:
                unanswered -= 1
                if not unanswered:
                    break
    return results


def format_results(results: dict[str, list[str]], prompts: list[str]) -> str:
    parts = []
    for number, texts in enumerate(results.values()):
        parts.append(f"prompt: {prompts[number % len(prompts)]}\nanswer: {''.join(texts)}\n")
    return "\n=========\n\n".join(parts)


def read_prompts(path: Path) -> list[str]:
    prompts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not prompts:
        msg = f"{path} has no prompts"
        raise ClientError(msg)
    return prompts


def run(options: argparse.Namespace) -> None:
    prompts = read_prompts(options.input_prompts)
    results = asyncio.run(collect(options, prompts))
    missing = [request_id for request_id, texts in results.items() if not texts]
    if missing:
        msg = f"no answer to request {', '.join(missing)}"
        raise ClientError(msg)
    text = format_results(results, prompts)
    options.results_file.write_text(text, encoding="utf-8")
    if options.verbose:
        print(text)
    print(f"{len(results)} answers are in {options.results_file}")


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    try:
        run(options)
    except ClientError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except grpc.RpcError as error:
        reason = f"{options.url}: {error.details()}"
    except InferenceServerException as error:
        reason = f"{options.url}: {error.message()}"
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
