"""The engine alone: `python -m benchmarks.raw_engine`, the client in the engine's front-end process.

Reads lines of JSON: first the engine's arguments, then one load each; answers each with a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import IO, Any

from benchmarks import load as loads
from benchmarks.load import Load
from benchmarks.prompts import make_prompt
from benchmarks.tally import Answer, Tally


def _engine_class() -> Any:
    """Return the engine of this vLLM: that of today, else the one before it."""
    try:
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError:
        from vllm.engine.async_llm_engine import AsyncLLMEngine

        return AsyncLLMEngine
    return AsyncLLM


def _output_kinds() -> dict[bool, Any]:
    """Return how a stream, and a single answer, are asked for; nothing where vLLM does not know that yet."""
    try:
        from vllm.sampling_params import RequestOutputKind
    except ImportError:
        return {}
    return {True: RequestOutputKind.DELTA, False: RequestOutputKind.FINAL_ONLY}


async def ask(llm: Any, params: Any, load: Load, worker: int, turn: int) -> Answer:
    """Ask once; an error is part of the answer."""
    prompt = make_prompt(load.counting, load.seed, worker, turn)
    answer = Answer(begun=time.monotonic())
    seen = 0
    try:
        async for output in llm.generate(prompt, params, f"{load.seed}-{worker}-{turn}"):
            tokens = len(output.outputs[0].token_ids)
            if not hasattr(params, "output_kind"):
                # The old engines say all again with every token.
                if not (load.stream or output.finished):
                    continue
                tokens, seen = tokens - seen, tokens
            answer.message(time.monotonic(), tokens)
    except Exception as error:
        answer.error = f"{type(error).__name__}: {error}"[:300]
        answer.last = time.monotonic()
    return answer


async def run(llm: Any, load: Load) -> Tally:
    """Put the load on the engine."""
    from vllm import SamplingParams

    kinds = _output_kinds()
    kind = {"output_kind": kinds[load.stream]} if kinds else {}
    until = time.monotonic() + load.seconds

    async def work(worker: int) -> list[Answer]:
        answers: list[Answer] = []
        while time.monotonic() < until:
            params = SamplingParams(max_tokens=load.max_tokens, temperature=0.0, ignore_eos=True, **kind)
            answers.append(await ask(llm, params, load, worker, len(answers)))
        return answers

    results = await asyncio.gather(*(work(worker) for worker in load.workers))
    return Tally(load.max_tokens, [answer for answers in results for answer in answers])


async def serve(replies: IO[str]) -> None:
    """Start the engine and take loads until the input ends."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    loop = asyncio.get_running_loop()
    arguments = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    llm = _engine_class().from_engine_args(AsyncEngineArgs(**arguments))
    try:
        # Ready is who answers.
        first = Load(concurrency=1, seconds=0.001, stream=False, max_tokens=1, seed=999)
        await run(llm, first)
        replies.write("ready\n")
        replies.flush()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            load, _ = loads.parse(line)
            tally = await run(llm, load)
            replies.write(json.dumps(tally.dump()) + "\n")
            replies.flush()
    finally:
        if hasattr(llm, "shutdown"):
            llm.shutdown()


def main() -> int:
    # vLLM logs to standard output, so replies get a descriptor of their own.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        # As vLLM's own server does.
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(serve(replies))
    return 0


if __name__ == "__main__":
    sys.exit(main())
