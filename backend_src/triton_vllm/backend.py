"""Brings a model instance up and down."""

from __future__ import annotations

import atexit
import gc
import locale
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from triton_vllm import device, enginefields, lora, modeljson, processes
from triton_vllm.chat import ChatTemplate
from triton_vllm.engines.interface import Engine, Lora
from triton_vllm.errors import ModelError, one_line
from triton_vllm.guard import start_guard
from triton_vllm.loopthread import LoopThread
from triton_vllm.metrics import Recorder, Reporter
from triton_vllm.service import Service
from triton_vllm.settings import read_settings
from triton_vllm.startup import OutputTail, explain

# How long `finalize` waits for requests that are still on their way, in seconds.
DRAIN_TIMEOUT = 3600.0
# How long a thread may keep the interpreter's lock when another one wants it, in seconds.
SWITCH_INTERVAL = 0.0005
# How long the engine's processes may take to end by themselves, in seconds.
STOP_PATIENCE = 0.8


class Backend:
    """One model instance: its engine and what serves it."""

    def __init__(self, args: Mapping[str, str], pb_utils: Any) -> None:
        _use_utf8()
        # Triton's calls come in on a thread that gives the interpreter's lock back between them; with
        # Python's 5 ms it then waits that long behind the engine's thread, for every single call.
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._pb_utils = pb_utils
        self._logger = pb_utils.Logger
        self._settings = read_settings(args)
        engine_args = self._read_engine_args()
        loras = self._read_loras(engine_args)
        self._set_environment(engine_args)

        self._guard = start_guard()
        self._reporter: Reporter | None = None
        self._loop = LoopThread("vllm-engine")
        self._loop.start()
        self._recorder = self._make_recorder(engine_args)
        self._engine = self._start_engine(engine_args)
        chat = self._read_chat_template()
        self._start_reporter()
        self._service = Service(
            pb_utils=pb_utils,
            engine=self._engine,
            loop=self._loop,
            loras=loras,
            stats=self._recorder,
            health_check=self._settings.health_check,
            on_engine_failure=self._on_engine_failure,
            chat=chat,
        )
        self._service.start()
        # What exists by now stays: collecting garbage need not look at it again.
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> None:
        self._service.execute(requests)

    def is_ready(self) -> bool:
        return self._service.healthy

    def stop(self) -> None:
        """Let the requests on their way finish, then stop the engine and its processes."""
        self._logger.log_info("[vllm] Issuing finalize to vllm backend")
        if self._engine.failed:
            self._service.drain(timeout=5.0)
        else:
            self._service.drain(timeout=DRAIN_TIMEOUT)
        self._service.stop()
        self._stop_engine()
        if self._reporter is not None:
            self._reporter.stop()
        self._loop.stop(timeout=1.0)
        # Nothing is left to clean up, and taking torch apart takes the interpreter seconds.
        atexit.register(_exit_now)

    def _stop_engine(self) -> None:
        """Stop the engine and its processes, by force when they take long: they are idle."""
        below = processes.find_descendants(os.getpid())
        thread = threading.Thread(target=self._shutdown_engine, name="vllm-shutdown", daemon=True)
        thread.start()
        thread.join(STOP_PATIENCE)
        if thread.is_alive():
            processes.kill(processes.wait_gone(below, 0))
            thread.join(STOP_PATIENCE)

    def _shutdown_engine(self) -> None:
        try:
            self._engine.shutdown()
        except Exception as error:
            self._logger.log_warn(f"[vllm] stopping the engine: {one_line(error)}")

    def _read_engine_args(self) -> dict[str, Any]:
        engine_args = modeljson.read_engine_args(self._settings.engine_args_path)
        path = enginefields.find_arg_utils()
        if path is None:
            msg = "vLLM is not installed for the Python that Triton's stub uses"
            raise ModelError(msg)
        fields = enginefields.read_fields(path)
        if not fields:
            # A layout that we cannot read: vLLM itself will check.
            return engine_args
        checked, warnings = modeljson.check_engine_args(engine_args, fields)
        for warning in warnings:
            self._logger.log_warn(f"[vllm] {warning}")
        return checked

    def _read_loras(self, engine_args: dict[str, Any]) -> dict[str, Lora] | None:
        if not lora.is_enabled(engine_args):
            return None
        return lora.read_loras(self._settings.lora_path)

    def _read_chat_template(self) -> ChatTemplate | None:
        if not self._settings.apply_chat_template:
            return None
        try:
            return ChatTemplate(self._loop.submit(self._engine.get_tokenizer()).result())
        except ModelError:
            self._stop_engine()
            raise

    def _set_environment(self, engine_args: Mapping[str, Any]) -> None:
        settings = self._settings
        devices = device.visible_devices(settings.instance_kind, settings.device_id, engine_args)
        if devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices

    def _make_recorder(self, engine_args: Mapping[str, Any]) -> Recorder | None:
        if not self._settings.report_metrics or engine_args.get("disable_log_stats"):
            return None
        return Recorder()

    def _start_reporter(self) -> None:
        if self._recorder is None:
            return
        labels = {"model": self._settings.model_name, "version": self._settings.model_version}
        try:
            self._reporter = Reporter(self._pb_utils, self._recorder, labels, self._engine.max_model_len)
        except Exception as error:
            # A server without metrics (--allow-metrics=false) refuses to make any.
            self._logger.log_warn(f"[vllm] no custom metrics: {one_line(error)}")
            self._recorder.close()
            self._recorder = None
            return
        self._reporter.start()

    def _start_engine(self, engine_args: dict[str, Any]) -> Engine:
        started = time.monotonic()
        with OutputTail() as tail:
            try:
                engine: Engine = self._loop.submit(_start(engine_args, self._recorder)).result()
            except Exception as error:
                self._logger.log_verbose(
                    "".join(traceback.format_exception(type(error), error, error.__traceback__))
                )
                reason = explain(error, tail.lines)
                self._loop.stop(timeout=2.0)
                msg = f"the vLLM engine does not start: {reason}"
                raise ModelError(msg) from None
        seconds = time.monotonic() - started
        self._logger.log_info(f"[vllm] {engine.description} engine started in {seconds:.1f} s")
        return engine

    def _on_engine_failure(self) -> None:
        # Unloading calls `stop` on another thread and waits for it, so this one must not wait.
        threading.Thread(target=self._take_down, name="vllm-takedown", daemon=True).start()

    def _take_down(self) -> None:
        """Make the model not ready, as far as this server can."""
        name = self._settings.model_name
        action = self._settings.on_engine_failure
        if action == "keep":
            return
        if action in (None, "unload"):
            try:
                self._pb_utils.unload_model(name)
            except Exception as error:
                self._logger.log_warn(f"[vllm] model {name} cannot be unloaded: {one_line(error)}")
            else:
                self._logger.log_error(f"[vllm] model {name} was unloaded: its engine died")
                return
        if action in (None, "stop"):
            self._logger.log_error(f"[vllm] stopping the server: the engine of model {name} died")
            self._service.drain(timeout=5.0)
            os.kill(os.getppid(), signal.SIGTERM)


async def _start(engine_args: dict[str, Any], recorder: Recorder | None) -> Engine:
    from triton_vllm.engines.selection import start_engine

    return start_engine(engine_args, recorder)


def _use_utf8() -> None:
    # The stub's interpreter starts with an ASCII locale and then fails on many a library's files.
    for name in ("", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            continue
        if locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8":
            return


def _exit_now() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
