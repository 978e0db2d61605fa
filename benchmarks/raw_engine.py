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


async def ask(llm: Any, params: Any, load: Load, worker: int, turn: int) -> Answer:
    """Ask once; an error is part of the answer."""
    prompt = make_prompt(load.counting, load.seed, worker, turn)
    answer = Answer(begun=time.monotonic())
    try:
        async for output in llm.generate(prompt, params, f"{load.seed}-{worker}-{turn}"):
            answer.message(time.monotonic(), len(output.outputs[0].token_ids))
    except Exception as error:
        answer.error = f"{type(error).__name__}: {error}"[:300]
        answer.last = time.monotonic()
    return answer


async def run(llm: Any, load: Load) -> Tally:
    """Put the load on the engine."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    kind = RequestOutputKind.DELTA if load.stream else RequestOutputKind.FINAL_ONLY
    until = time.monotonic() + load.seconds

    async def work(worker: int) -> list[Answer]:
        answers: list[Answer] = []
        while time.monotonic() < until:
            params = SamplingParams(
                max_tokens=load.max_tokens, temperature=0.0, ignore_eos=True, output_kind=kind
            )
            answers.append(await ask(llm, params, load, worker, len(answers)))
        return answers

    results = await asyncio.gather(*(work(worker) for worker in load.workers))
    return Tally(load.max_tokens, [answer for answers in results for answer in answers])


async def serve(replies: IO[str]) -> None:
    """Start the engine and take loads until the input ends."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    loop = asyncio.get_running_loop()
    arguments = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
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
