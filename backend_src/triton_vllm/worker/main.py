"""Runs a worker: starts the engine, serves the stub's requests, ends both."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Coroutine
from typing import Any

from triton_vllm import messages, processes
from triton_vllm.chat import ChatTemplate
from triton_vllm.engines.interface import Engine
from triton_vllm.errors import BackendError, one_line
from triton_vllm.link import AsyncLink
from triton_vllm.metrics.recorder import Recorder
from triton_vllm.startup import OutputTail, explain
from triton_vllm.worker.orphans import start_watch
from triton_vllm.worker.ranks import Ranks
from triton_vllm.worker.serving import Serving

logger = logging.getLogger(__name__)

# How long the engine's processes may take to end by themselves, in seconds.
STOP_PATIENCE = 0.5


def main(descriptor: int, server: int, stub: int) -> None:
    """Serve on a connected socket until its other side says Stop or is gone."""
    start_watch(server, stub)
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_run(socket.socket(fileno=descriptor)))
    # Nothing is left to clean up, and taking torch apart takes the interpreter seconds.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _run(end: socket.socket) -> None:
    link = await AsyncLink.open(end)
    start = await link.receive()
    engine: Engine | None = None
    refusal: messages.NotStarted | None
    with OutputTail() as tail:
        recorder = Recorder() if start.report_metrics else None
        try:
            engine = _start_engine(start, recorder)
            chat = await _read_chat_template(engine, start)
        except BackendError as error:
            refusal = messages.NotStarted(str(error))
        except Exception as error:
            reason = f"the vLLM engine does not start: {explain(error, tail.lines)}"
            refusal = messages.NotStarted(reason, traceback.format_exc())
        else:
            refusal = None
    if engine is None or refusal is not None:
        link.send(refusal)
        await link.close()
        if engine is not None:
            stop_engine(engine)
        return
    # What exists by now stays: collecting garbage need not look at it again.
    gc.collect()
    gc.freeze()
    ranks = Ranks(os.getpgid(0))
    ranks.start_watch()
    tasks = await engine.get_tasks()
    link.send(messages.Started(dict(engine.fields), engine.max_model_len, engine.description, tasks))
    await serve(link, engine, start, recorder, chat)
    await link.close()
    ranks.stop()
    stop_engine(engine)


async def serve(
    link: AsyncLink,
    engine: Engine,
    start: messages.Start,
    recorder: Recorder | None,
    chat: ChatTemplate,
) -> None:
    """Do what the messages say until Stop or the end of the connection."""
    serving = Serving(
        engine,
        link.send,
        loras=start.loras,
        chat=chat,
        recorder=recorder,
        num_lanes=start.num_lanes,
        num_cpus=processes.count_cpus(),
    )
    checks: set[asyncio.Task[None]] = set()
    while True:
        try:
            message = await link.receive()
        except EOFError:
            break
        if isinstance(message, messages.Submit):
            serving.submit(message.number, message.request)
        elif isinstance(message, messages.Credit):
            serving.credit(message.lane)
        elif isinstance(message, messages.Cancel):
            serving.cancel(message.number)
        elif isinstance(message, messages.CheckHealth):
            _spawn(checks, _check_health(link, engine))
        elif isinstance(message, messages.Stop):
            break
    serving.close()


def stop_engine(engine: Engine) -> None:
    """Stop the engine and its processes, by force when they take long: they are idle."""
    thread = threading.Thread(target=_shutdown, args=(engine,), name="vllm-shutdown", daemon=True)
    thread.start()
    thread.join(STOP_PATIENCE)
    group = processes.find_group(os.getpgid(0))
    processes.kill([pid for pid in group if pid != os.getpid()])


def _shutdown(engine: Engine) -> None:
    try:
        engine.shutdown()
    except Exception as error:
        logger.warning("[vllm] stopping the engine: %s", one_line(error))


def _start_engine(start: messages.Start, recorder: Recorder | None) -> Engine:
    from triton_vllm.engines.selection import leave_a_slot, start_engine

    arguments = start.engine_args
    if start.loras:
        arguments = leave_a_slot(arguments, len(start.loras))
    return start_engine(arguments, recorder)


async def _read_chat_template(engine: Engine, start: messages.Start) -> ChatTemplate:
    # A model that makes vectors of images and the like has no tokenizer.
    tokenizer = None
    with contextlib.suppress(Exception):
        tokenizer = await engine.get_tokenizer()
    return ChatTemplate(tokenizer, always=start.apply_chat_template)


async def _check_health(link: AsyncLink, engine: Engine) -> None:
    problem: str | None = None
    try:
        await engine.check_health()
    except Exception as error:
        problem = one_line(error)
    link.send(messages.Health(problem))


def _spawn(tasks: set[asyncio.Task[None]], coroutine: Coroutine[Any, Any, None]) -> None:
    # A loop holds its tasks only weakly.
    task = asyncio.ensure_future(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's loop, which vLLM's own server uses too, or else Python's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
