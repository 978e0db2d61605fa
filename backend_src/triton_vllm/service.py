"""Serves requests: from Triton to the worker, and its results back to Triton."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from triton_vllm import messages
from triton_vllm.errors import BackendError, EngineUnavailable, RequestError, one_line
from triton_vllm.link import Link
from triton_vllm.messages import Failure, Part
from triton_vllm.metrics.reporter import Reporter
from triton_vllm.requests import EmbedRequest, Wanted, parse_request
from triton_vllm.responder import Active, Lane, Responder
from triton_vllm.watching import Watcher

UNHEALTHY = "Model is unavailable due to unhealthy vLLM engine"
STOPPING = "the model is being unloaded"
CANCELLED = "CANCELLED"
# How long the worker may take to answer whether its engine is well, in seconds.
HEALTH_TIMEOUT = 10.0


class Service:
    """Triton's side of a started worker."""

    def __init__(
        self,
        *,
        pb_utils: Any,
        link: Link,
        started: messages.Started,
        model_name: str,
        takes_priority: bool,
        reporter: Reporter | None,
        health_check: bool,
        on_engine_failure: Callable[[], None],
        num_lanes: int,
    ) -> None:
        self._pb_utils = pb_utils
        self._logger = pb_utils.Logger
        self._link = link
        self._fields = started.fields
        self._tasks = started.tasks
        self._model_name = model_name
        self._takes_priority = takes_priority
        self._reporter = reporter
        self._health_check = health_check
        self._on_engine_failure = on_engine_failure
        self._responder = Responder(pb_utils, self._logger.log_warn)
        self._lanes = [Lane(number, self._deliver, self._ask_for_more) for number in range(num_lanes)]
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._active: dict[int, Active] = {}
        self._idle = threading.Event()
        self._idle.set()
        self._health: Future[str | None] | None = None
        self._accepting = True
        self._failed = False
        self._stopping = threading.Event()
        self._receiver = threading.Thread(target=self._receive, name="vllm-receive", daemon=True)
        self._watcher = Watcher(self._numbers_on_their_way, self._cancel_if_abandoned)

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()
        self._receiver.start()
        self._watcher.start()

    @property
    def healthy(self) -> bool:
        return not self._failed

    def execute(self, requests: list[Any]) -> None:
        """Take requests from Triton. Answers a bad one at once, and never raises."""
        if self._health_check and self.healthy:
            self._check_health()
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._submit(request, sender)
            except BackendError as error:
                self._refuse(sender, error)
            except Exception as error:
                self._refuse(sender, BackendError(f"{type(error).__name__}: {one_line(error)}"))

    def drain(self, timeout: float) -> bool:
        """Refuse new requests and wait for those on their way. Returns whether all ended."""
        self._accepting = False
        return self._idle.wait(timeout)

    def stop(self) -> None:
        """Send what waits to be sent, and end the threads."""
        self._accepting = False
        self._stopping.set()
        self._watcher.stop()
        for lane in self._lanes:
            lane.stop(timeout=5.0)

    def _submit(self, request: Any, sender: Any) -> None:
        # An engine that died is why the model is being unloaded.
        if not self.healthy:
            raise EngineUnavailable(UNHEALTHY)
        if not self._accepting:
            raise EngineUnavailable(STOPPING)
        parsed = parse_request(request, self._pb_utils, self._fields)
        task = "embed" if isinstance(parsed, EmbedRequest) else "generate"
        if self._tasks is not None and task not in self._tasks:
            msg = f"Model {self._model_name} does not support '{task}' request"
            raise RequestError(msg)
        if task == "generate" and parsed.priority and not self._takes_priority:
            msg = 'parameter "priority" needs "scheduling_policy": "priority" in model.json'
            raise RequestError(msg)
        if isinstance(parsed, EmbedRequest):
            active = Active(sender, "", parsed.wanted)
        else:
            active = Active(sender, parsed.prompt if parsed.prepend_input else "", parsed.wanted)
        number = next(self._numbers)
        with self._lock:
            self._active[number] = active
            self._idle.clear()
            if self._reporter is not None:
                self._reporter.busy = True
        try:
            self._link.send(messages.Submit(number, parsed))
        except OSError:
            if self._forget(number) is not None:
                self._settle()
                raise EngineUnavailable(UNHEALTHY) from None

    def _forget(self, number: int) -> Active | None:
        with self._lock:
            return self._active.pop(number, None)

    def _settle(self) -> None:
        with self._lock:
            if not self._active:
                self._idle.set()
                if self._reporter is not None:
                    self._reporter.busy = False

    def _refuse(self, sender: Any, error: BackendError) -> None:
        self._count(error.code)
        self._responder.send(Active(sender, "", Wanted()), Failure(error.code, str(error)), final=True)

    def _receive(self) -> None:
        while True:
            try:
                message = self._link.receive()
            except EOFError:
                break
            if isinstance(message, messages.Results):
                self._lanes[message.lane].put(message.results)
            elif isinstance(message, messages.Notes):
                if self._reporter is not None:
                    self._reporter.put(message)
            elif isinstance(message, messages.Health):
                if self._health is not None:
                    self._health.set_result(message.problem)
            elif isinstance(message, messages.EngineFailed):
                self._report_failure("The engine died")
        if not self._stopping.is_set():
            self._report_failure("The engine's process is gone")
            # Through the lanes, because one may be sending for a request right now.
            failure = Failure(EngineUnavailable.code, f"{UNHEALTHY}: its process is gone")
            for number in self._numbers_on_their_way():
                self._lanes[number % len(self._lanes)].put([(number, failure)])

    def _deliver(self, number: int, result: Part | Failure) -> None:
        final = isinstance(result, Failure) or result.final
        active = self._forget(number) if final else self._active.get(number)
        if active is None:
            return
        if final:
            active.close()
        self._responder.send(active, result, final)
        if not final:
            return
        self._settle()
        if isinstance(result, Failure):
            self._count(result.code)
            if result.code == CANCELLED:
                self._logger.log_info("[vllm] Successfully cancelled the request")
            else:
                self._logger.log_verbose(f"[vllm] request {number}: {result.text}")
        elif self._reporter is not None:
            self._reporter.hurry()

    def _ask_for_more(self, lane: int) -> None:
        self._tell(messages.Credit(lane))

    def _count(self, code: str) -> None:
        if self._reporter is not None:
            name = "request_cancellations_total" if code == CANCELLED else "request_errors_total"
            self._reporter.count(name)

    def _check_health(self) -> None:
        self._health = Future()
        try:
            self._link.send(messages.CheckHealth())
            problem = self._health.result(HEALTH_TIMEOUT)
        except (OSError, FutureTimeoutError) as error:
            problem = one_line(error)
        if problem is not None:
            self._report_failure(f"Engine is not healthy: {problem}")

    def _report_failure(self, reason: str) -> None:
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            self._logger.log_error(f"[vllm] {reason}")
            self._on_engine_failure()

    def _numbers_on_their_way(self) -> list[int]:
        with self._lock:
            return list(self._active)

    def _cancel_if_abandoned(self, number: int) -> bool:
        """Cancel a request whose client is gone; return whether that is newly so.

        Nothing of it may outlive this call: until the last reference to a sender is gone, Triton 2.41 to
        2.48 does not let go of the model.
        """
        active = self._active.get(number)
        if active is None or active.cancelled or not active.is_cancelled():
            return False
        active.cancelled = True
        self._logger.log_info("[vllm] Cancelling the request")
        self._tell(messages.Cancel(number))
        return True

    def _tell(self, message: Any) -> None:
        # When the worker is gone, the receiving thread sees that too and does what is to be done.
        with contextlib.suppress(OSError):
            self._link.send(message)
