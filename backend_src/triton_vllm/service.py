"""Serves requests: from Triton's thread to the engine's loop and back to Triton."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_vllm.chat import ChatTemplate
from triton_vllm.embeddings import embedding_text, make_embed_job
from triton_vllm.engines.common import translate
from triton_vllm.engines.interface import Engine, GenerateJob, Lora
from triton_vllm.errors import BackendError, EngineUnavailable, RequestCancelled, one_line
from triton_vllm.images import decode_images
from triton_vllm.loopthread import LoopThread
from triton_vllm.lora import choose_lora
from triton_vllm.merging import Sequences
from triton_vllm.metrics import Recorder
from triton_vllm.outbox import Outbox, Outlet
from triton_vllm.requests import EmbedRequest, GenerateRequest, Wanted, parse_request
from triton_vllm.responses import Responses

UNHEALTHY = "Model is unavailable due to unhealthy vLLM engine"
STOPPING = "the model is being unloaded"
# How often a request's client is asked for, in seconds, and how many are asked per second at most.
CANCEL_INTERVAL = 0.1
CANCEL_CHECKS = 400


@dataclass(eq=False)
class Active:
    """A request on its way."""

    request_id: str
    outlet: Outlet
    sender: Any
    task: asyncio.Task[None] | None = field(default=None)


class Service:
    """Runs requests on a started engine."""

    def __init__(
        self,
        *,
        pb_utils: Any,
        engine: Engine,
        loop: LoopThread,
        loras: Mapping[str, Lora] | None,
        stats: Recorder | None,
        health_check: bool,
        on_engine_failure: Callable[[], None],
        chat: ChatTemplate | None = None,
    ) -> None:
        self._pb_utils = pb_utils
        self._logger = pb_utils.Logger
        self._engine = engine
        self._loop = loop
        self._loras = loras
        self._stats = stats
        self._health_check = health_check
        self._on_engine_failure = on_engine_failure
        self._chat = chat
        self._responses = Responses(pb_utils)
        self._final_flag = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        self._outbox = Outbox(self._responses, self._final_flag, self._logger.log_warn)
        # Changed on the loop only, read from the watching thread.
        self._active: dict[str, Active] = {}
        self._accepting = True
        self._failed = False
        self._idle = threading.Event()
        self._idle.set()
        self._watcher = threading.Thread(target=self._watch, name="vllm-watch", daemon=True)
        self._watching = threading.Event()

    def start(self) -> None:
        self._outbox.start()
        self._watcher.start()

    @property
    def healthy(self) -> bool:
        return not self._failed and not self._engine.failed

    def execute(self, requests: list[Any]) -> None:
        """Take requests from Triton. Answers a bad one at once, and never raises."""
        if self._health_check:
            self._check_health()
        for request in requests:
            sender = request.get_response_sender()
            try:
                start = self._prepare(request, sender)
            except BackendError as error:
                self._refuse(sender, error)
            except Exception as error:
                self._refuse(sender, BackendError(f"{type(error).__name__}: {one_line(error)}"))
            else:
                self._loop.call(start)

    def drain(self, timeout: float) -> bool:
        """Refuse new requests and wait for those on their way. Returns whether all ended."""
        self._accepting = False
        return self._idle.wait(timeout)

    def stop(self) -> None:
        self._accepting = False
        self._watching.set()
        self._outbox.stop(timeout=5.0)

    def _prepare(self, request: Any, sender: Any) -> Callable[[], None]:
        if not self._accepting:
            raise EngineUnavailable(STOPPING)
        if not self.healthy:
            raise EngineUnavailable(UNHEALTHY)
        if sender.is_cancelled():
            msg = "the request was cancelled before it started"
            raise RequestCancelled(msg)
        parsed = parse_request(request, self._pb_utils, self._engine.fields)
        request_id = uuid.uuid4().hex
        if isinstance(parsed, EmbedRequest):
            job = make_embed_job(request_id, parsed)
            outlet = Outlet(sender, Sequences(1, False), "", Wanted())
            active = Active(request_id, outlet, sender)
            return lambda: self._begin(active, self._embed(active, job))
        return self._prepare_generate(request_id, parsed, sender)

    def _prepare_generate(self, request_id: str, parsed: GenerateRequest, sender: Any) -> Callable[[], None]:
        wanted = parsed.wanted
        lora = choose_lora(parsed.sampling.lora_name, self._loras)
        params = self._engine.make_params(parsed.sampling, parsed.stream, logprobs=wanted.cumulative_logprob)
        asked = parsed.sampling.values.get("logprobs") is not None
        text = self._chat.ask(parsed.prompt) if self._chat else parsed.prompt
        job = GenerateJob(
            request_id=request_id,
            prompt=self._engine.make_prompt(text, decode_images(parsed.images)),
            params=params,
            lora=lora,
            trace_headers=parsed.trace_headers,
        )
        sequences = Sequences(int(params.n), keep_logprobs=wanted.logprobs and asked)
        prefix = parsed.prompt if parsed.prepend_input else ""
        active = Active(request_id, Outlet(sender, sequences, prefix, wanted), sender)
        return lambda: self._begin(active, self._generate(active, job))

    def _begin(self, active: Active, coroutine: Any) -> None:
        self._active[active.request_id] = active
        self._idle.clear()
        if self._stats is not None:
            self._stats.busy = True
        task = self._loop.loop.create_task(coroutine)
        active.task = task
        task.add_done_callback(lambda _: self._end(active))

    def _end(self, active: Active) -> None:
        self._active.pop(active.request_id, None)
        if not self._active:
            self._idle.set()
            if self._stats is not None:
                # The engine tells its levels when it steps, and it does not step for an abort.
                self._stats.level("num_requests_running", 0)
                self._stats.level("num_requests_waiting", 0)
                self._stats.busy = False
        if self._stats is not None:
            self._stats.hurry()

    async def _generate(self, active: Active, job: GenerateJob) -> None:
        put, outlet = self._outbox.put, active.outlet
        finished = False
        try:
            async for output in self._engine.generate(job):
                finished = output.finished
                put(outlet, output)
            if not finished:
                msg = "Error generating stream: the engine ended the request without a result"
                raise BackendError(msg)
        except asyncio.CancelledError:
            await self._cancelled(active)
        except Exception as error:
            self._failed_request(active, error)

    async def _embed(self, active: Active, job: Any) -> None:
        try:
            embedding = await self._engine.embed(job)
            response = self._responses.from_text(embedding_text(embedding))
            await asyncio.to_thread(active.sender.send, response, flags=self._final_flag)
            active.outlet.closed = True
        except asyncio.CancelledError:
            await self._cancelled(active)
        except Exception as error:
            self._failed_request(active, error)

    async def _cancelled(self, active: Active) -> None:
        self._logger.log_info("[vllm] Cancelling the request")
        try:
            await self._engine.abort(active.request_id)
        except Exception as error:
            self._logger.log_warn(f"[vllm] Aborting the request failed: {one_line(error)}")
        self._logger.log_info("[vllm] Successfully cancelled the request")
        msg = "the request was cancelled"
        self._outbox.fail(active.outlet, RequestCancelled(msg))
        self._count("request_cancellations_total")

    def _failed_request(self, active: Active, error: Exception) -> None:
        translated = translate(error)
        if isinstance(translated, EngineUnavailable) and self._engine.failed:
            translated = EngineUnavailable(f"{UNHEALTHY}: {translated}")
        self._logger.log_verbose(f"[vllm] request {active.request_id}: {translated}")
        self._outbox.fail(active.outlet, translated)
        self._count("request_errors_total")

    def _refuse(self, sender: Any, error: BackendError) -> None:
        self._count("request_errors_total")
        try:
            sender.send(self._responses.from_error(error), flags=self._final_flag)
        except Exception as trouble:
            self._logger.log_warn(f"[vllm] a response could not be sent: {one_line(trouble)}")

    def _count(self, name: str) -> None:
        if self._stats is not None:
            self._stats.count(name)
            self._stats.hurry()

    def _check_health(self) -> None:
        try:
            self._loop.submit(self._engine.check_health()).result(timeout=10.0)
        except Exception as error:
            self._logger.log_error(f"[vllm] Engine is not healthy: {one_line(error)}")
            self._report_failure()

    def _report_failure(self) -> None:
        if not self._failed:
            self._failed = True
            self._on_engine_failure()

    def _watch(self) -> None:
        """Look for clients that went away and for an engine that died."""
        while not self._watching.wait(CANCEL_INTERVAL):
            started = time.monotonic()
            watched = list(self._active.values())
            for active in watched:
                if not active.outlet.closed and active.sender.is_cancelled():
                    self._loop.call(self._cancel, active)
            if self._engine.failed and not self._failed:
                self._logger.log_error("[vllm] The engine died")
                self._report_failure()
            spent = time.monotonic() - started
            # With very many requests each is asked for less often.
            self._watching.wait(max(0.0, len(watched) / CANCEL_CHECKS - spent))

    def _cancel(self, active: Active) -> None:
        if active.task is not None and not active.task.done():
            active.task.cancel()
