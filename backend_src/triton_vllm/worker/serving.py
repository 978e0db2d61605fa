"""Runs requests on the engine and gathers their results.

Sending one response takes Triton and its client a few hundred microseconds of CPU, more than many an
engine needs for a token. So results wait here until the stub asks for them and the CPUs can afford
them, and what comes for a stream meanwhile is merged. A client that is served fast enough sees every
token alone; memory stays bounded when it is not. A request's first and last results never wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from triton_vllm import messages
from triton_vllm.chat import ChatTemplate
from triton_vllm.embeddings import embedding_text, make_embed_job
from triton_vllm.engines.common import translate
from triton_vllm.engines.interface import Engine, GenerateJob, Lora
from triton_vllm.errors import BackendError, EngineUnavailable, RequestCancelled, one_line
from triton_vllm.images import decode_images
from triton_vllm.lora import choose_lora
from triton_vllm.merging import Sequences
from triton_vllm.messages import Failure, Part
from triton_vllm.metrics.recorder import Recorder
from triton_vllm.requests import EmbedRequest, GenerateRequest

logger = logging.getLogger(__name__)

UNHEALTHY = "Model is unavailable due to unhealthy vLLM engine"
# How often numbers are sent while requests are on their way, and how soon after one ended, in
# seconds. The engine notes a step's numbers after it gave out the step's results.
NOTES_INTERVAL, NOTES_DELAY = 0.1, 0.002
# What is so when no request is on its way, whatever the engine said last.
IDLE_LEVELS = {"num_requests_running": 0.0, "num_requests_waiting": 0.0}
# How often the engine is looked at, in seconds.
WATCH_INTERVAL = 0.1


# How many responses between a stream's first and last one are sent per second for each CPU, and how
# long one waits at most for its turn, in seconds, whatever that costs.
RESPONSES_PER_CPU = 250
LONGEST_WAIT = 0.1
# How many of them are sent together: first and last results that come meanwhile have to wait for these.
TURN = 32


class Live:
    """A request on its way."""

    __slots__ = (
        "answered",
        "deadline",
        "engine_id",
        "gate",
        "lane",
        "last",
        "number",
        "queued",
        "reason",
        "sequences",
        "task",
    )

    def __init__(self, number: int, lane: Lane) -> None:
        self.number = number
        self.lane = lane
        # A number is the stub's own and used once; the engine wants a text.
        self.engine_id = str(number)
        self.sequences = Sequences(1)
        self.task: asyncio.Task[None] | None = None
        # The result that ends it where that is not the sequences' own.
        self.last: Failure | Part | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.reason = "the request was cancelled"
        self.answered = False
        self.queued = False
        self.gate: asyncio.Future[None] | None = None


class Lane:
    """Requests whose results are handed on by one thread of the stub, one batch at a time."""

    __slots__ = ("credit", "flushing", "not_before", "number", "timer", "urgent", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.urgent: dict[Live, None] = {}
        self.waiting: dict[Live, None] = {}
        self.credit = True
        self.flushing = False
        # When those that are not urgent may be sent, in the loop's time.
        self.not_before = 0.0
        self.timer: asyncio.TimerHandle | None = None


class Serving:
    """Requests on a started engine. All of it runs on the engine's loop."""

    def __init__(
        self,
        engine: Engine,
        send: Callable[[Any], None],
        *,
        loras: Mapping[str, Lora] | None,
        chat: ChatTemplate,
        recorder: Recorder | None,
        num_lanes: int,
        num_cpus: float,
    ) -> None:
        self._engine = engine
        self._send = send
        self._loras = loras
        self._chat = chat
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._lanes = [Lane(number) for number in range(num_lanes)]
        self._pause = num_lanes / (num_cpus * RESPONSES_PER_CPU)
        self._live: dict[int, Live] = {}
        self._failed = False
        self._notes: asyncio.TimerHandle | None = None
        self._watch = self._loop.call_later(WATCH_INTERVAL, self._look)

    def submit(self, number: int, request: GenerateRequest | EmbedRequest) -> None:
        """Start a request. Whatever happens to it, its results end with a final one."""
        live = Live(number, self._lanes[number % len(self._lanes)])
        self._live[number] = live
        run = self._embed if isinstance(request, EmbedRequest) else self._generate
        live.task = self._loop.create_task(self._run(live, run(live, request)))
        timeout = getattr(request, "timeout", None)
        if timeout is not None:
            live.deadline = self._loop.call_later(timeout, self._expire, live, timeout)
        if self._recorder is not None and self._notes is None:
            self._notes = self._loop.call_later(NOTES_INTERVAL, self._send_notes)

    def cancel(self, number: int) -> None:
        live = self._live.get(number)
        if live is not None and live.task is not None:
            live.task.cancel()

    def _expire(self, live: Live, timeout: float) -> None:
        live.reason = f"the request's timeout of {timeout:g} s passed"
        if live.task is not None:
            live.task.cancel()

    def credit(self, lane: int) -> None:
        """Send what waits, or the next result as soon as there is one."""
        self._lanes[lane].credit = True
        if self._lanes[lane].urgent or self._lanes[lane].waiting:
            self._flush_soon(self._lanes[lane])

    def close(self) -> None:
        self._watch.cancel()
        if self._notes is not None:
            self._notes.cancel()
        for live in self._live.values():
            if live.task is not None:
                live.task.cancel()

    async def _run(self, live: Live, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            await self._abort(live)
            self._end(live, RequestCancelled(live.reason))
        except Exception as error:
            translated = translate(error)
            if isinstance(translated, EngineUnavailable) and self._engine.failed:
                translated = EngineUnavailable(f"{UNHEALTHY}: {translated}")
            self._end(live, translated)
        finally:
            self._live.pop(live.number, None)
            if live.deadline is not None:
                live.deadline.cancel()
            self._hurry_notes()

    async def _generate(self, live: Live, request: GenerateRequest) -> None:
        engine = self._engine
        wanted = request.wanted
        lora = choose_lora(request.sampling.lora_name, self._loras)
        params = engine.make_params(request.sampling, request.stream, logprobs=wanted.cumulative_logprob)
        asked = request.sampling.values.get("logprobs") is not None
        images = await asyncio.to_thread(decode_images, request.images) if request.images else []
        live.sequences = sequences = Sequences(
            int(params.n), keep_logprobs=wanted.logprobs and asked, keep_token_ids=wanted.token_ids
        )
        job = GenerateJob(
            request_id=live.engine_id,
            prompt=engine.make_prompt(request.token_ids or self._chat.write(request), images),
            params=params,
            lora=lora,
            priority=request.priority,
            trace_headers=request.trace_headers,
        )
        async with contextlib.aclosing(engine.generate(job)) as outputs:
            async for output in outputs:
                sequences.add(output)
                self._queue(live)
                if engine.merges and not sequences.finished:
                    # Until this is sent, the engine's front end merges what comes.
                    live.gate = self._loop.create_future()
                    await live.gate
        if not sequences.finished:
            msg = "Error generating stream: the engine ended the request without a result"
            raise BackendError(msg)

    async def _embed(self, live: Live, request: EmbedRequest) -> None:
        embedding = await self._engine.embed(make_embed_job(live.engine_id, request))
        text = embedding_text(embedding)
        live.last = Part([text], [0], ["null"], [None], ["stop"], embedding.num_tokens, final=True)
        self._queue(live)

    async def _abort(self, live: Live) -> None:
        try:
            await self._engine.abort(live.engine_id)
        except Exception as error:
            logger.warning("[vllm] aborting a request failed: %s", one_line(error))

    def _end(self, live: Live, error: BackendError) -> None:
        live.last = Failure(error.code, str(error))
        self._queue(live)

    def _queue(self, live: Live) -> None:
        lane = live.lane
        if not live.answered or live.sequences.finished or live.last is not None:
            lane.waiting.pop(live, None)
            lane.urgent[live] = None
        elif live.queued:
            return
        else:
            lane.waiting[live] = None
        live.queued = True
        self._flush_soon(lane)

    def _flush_soon(self, lane: Lane) -> None:
        if not lane.credit or lane.flushing:
            return
        if lane.urgent or self._loop.time() >= lane.not_before:
            # After the other requests that this step of the engine has results for.
            lane.flushing = True
            self._loop.call_soon(self._flush, lane)
        elif lane.timer is None:
            lane.timer = self._loop.call_at(lane.not_before, self._flush_in_turn, lane)

    def _flush_in_turn(self, lane: Lane) -> None:
        lane.timer = None
        if lane.waiting:
            self._flush_soon(lane)

    def _flush(self, lane: Lane) -> None:
        lane.flushing = False
        batch, lane.urgent = lane.urgent, {}
        now = self._loop.time()
        if lane.waiting and now >= lane.not_before:
            pause = min(self._pause, LONGEST_WAIT / len(lane.waiting))
            turn = list(itertools.islice(lane.waiting, TURN))
            lane.not_before = max(lane.not_before, now - TURN * pause) + len(turn) * pause
            for live in turn:
                del lane.waiting[live]
                batch[live] = None
        if not batch:
            return
        lane.credit = False
        results: list[tuple[int, Part | Failure]] = []
        for live in batch:
            live.queued = False
            live.answered = True
            results.append((live.number, live.last or live.sequences.take()))
            if live.gate is not None:
                if not live.gate.done():
                    live.gate.set_result(None)
                live.gate = None
        self._send(messages.Results(lane.number, results))

    def _hurry_notes(self) -> None:
        if self._recorder is None:
            return
        if self._notes is None or self._notes.when() > self._loop.time() + NOTES_DELAY:
            if self._notes is not None:
                self._notes.cancel()
            self._notes = self._loop.call_later(NOTES_DELAY, self._send_notes)

    def _send_notes(self) -> None:
        self._notes = None
        if self._recorder is None:
            return
        notes = self._recorder.take()
        noted = any(notes)
        if not self._live:
            # The engine tells its levels when it steps: not after an abort, and too late before one.
            notes.levels.update(IDLE_LEVELS)
        if noted or not self._live:
            self._send(notes)
        if noted or self._live:
            self._notes = self._loop.call_later(NOTES_INTERVAL, self._send_notes)

    def _look(self) -> None:
        if self._engine.failed:
            if not self._failed:
                self._failed = True
                self._send(messages.EngineFailed())
            return
        self._watch = self._loop.call_later(WATCH_INTERVAL, self._look)
