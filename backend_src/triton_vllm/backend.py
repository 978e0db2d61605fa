"""Brings a model instance up and down."""

from __future__ import annotations

import atexit
import locale
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from triton_vllm import device, enginefields, lora, messages, modeljson, processes
from triton_vllm.engines.interface import Lora
from triton_vllm.errors import ModelError, one_line
from triton_vllm.metrics.histograms import has_histograms
from triton_vllm.metrics.reporter import Reporter
from triton_vllm.service import Service
from triton_vllm.settings import read_settings
from triton_vllm.workerprocess import WorkerProcess

# How long `finalize` waits for requests that are still on their way, in seconds; for those of a
# dead engine it need not.
DRAIN_TIMEOUT, FAILED_DRAIN_TIMEOUT = 3600.0, 5.0
# How long a thread may keep the interpreter's lock when another one wants it, in seconds.
SWITCH_INTERVAL = 0.0005
NO_HISTOGRAMS = "[vllm] this Triton has no histograms for backends: theirs are counters of the same names"
# Sending a response is mostly waiting for the server, so several can be on their way at once.
MAX_LANES = 2


class Backend:
    """One model instance: its engine's process and what serves it."""

    def __init__(self, args: Mapping[str, str], pb_utils: Any) -> None:
        _use_utf8()
        # Triton's calls come in on a thread that gives the interpreter's lock back between them; with
        # Python's 5 ms it may wait that long for it, for every single call.
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._pb_utils = pb_utils
        self._logger = pb_utils.Logger
        self._settings = read_settings(args)
        start = self._make_start()
        began = time.monotonic()
        self._worker = WorkerProcess(self._environment(start.engine_args))
        started = self._worker.start_engine(start, self._logger.log_verbose)
        self._logger.log_info(
            f"[vllm] {started.description} engine started in {time.monotonic() - began:.1f} s"
        )
        self._reporter = self._make_reporter(started.max_model_len) if start.report_metrics else None
        self._service = Service(
            pb_utils=pb_utils,
            link=self._worker.link,
            started=started,
            model_name=self._settings.model_name,
            takes_priority=start.engine_args.get("scheduling_policy") == "priority",
            reporter=self._reporter,
            health_check=self._settings.health_check,
            on_engine_failure=self._on_engine_failure,
            num_lanes=start.num_lanes,
        )
        self._service.start()

    def execute(self, requests: list[Any]) -> None:
        self._service.execute(requests)

    def is_ready(self) -> bool:
        return self._service.healthy

    def stop(self) -> None:
        """Let the requests on their way finish, then stop the engine and its processes."""
        self._logger.log_info("[vllm] Issuing finalize to vllm backend")
        self._service.drain(DRAIN_TIMEOUT if self._service.healthy else FAILED_DRAIN_TIMEOUT)
        self._service.stop()
        self._worker.end()
        if self._reporter is not None:
            self._reporter.stop()
        # Nothing is left to clean up, and taking an interpreter apart takes time.
        atexit.register(_exit_now)

    def _make_start(self) -> messages.Start:
        engine_args = self._read_engine_args()
        return messages.Start(
            engine_args=engine_args,
            loras=self._read_loras(engine_args),
            apply_chat_template=self._settings.apply_chat_template,
            report_metrics=self._settings.report_metrics and not engine_args.get("disable_log_stats"),
            num_lanes=max(1, min(MAX_LANES, int(processes.count_cpus() // 2))),
        )

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

    def _environment(self, engine_args: Mapping[str, Any]) -> dict[str, str]:
        settings = self._settings
        devices = device.visible_devices(
            settings.instance_kind, settings.device_id, engine_args, settings.gpu_device_ids
        )
        return {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}

    def _make_reporter(self, max_model_len: int) -> Reporter | None:
        labels = {"model": self._settings.model_name, "version": self._settings.model_version}
        try:
            reporter = Reporter(self._pb_utils, labels, max_model_len)
        except Exception as error:
            # A server without metrics (--allow-metrics=false) refuses to make any.
            self._logger.log_warn(f"[vllm] no custom metrics: {one_line(error)}")
            return None
        if not has_histograms(self._pb_utils.MetricFamily):
            self._logger.log_warn(NO_HISTOGRAMS)
        reporter.start()
        return reporter

    def _on_engine_failure(self) -> None:
        # Unloading calls `stop` on another thread and waits for it, so this one must not wait.
        threading.Thread(target=self._take_down, name="vllm-takedown", daemon=True).start()

    def _take_down(self) -> None:
        """Make the model not ready, as far as this server can."""
        name = self._settings.model_name
        action = self._settings.on_engine_failure
        if action == "keep":
            return
        # Under load Triton's stub may crash in `unload_model` (seen with 2.49, where it was going to be refused, while
        # other threads sent responses): so not before all are answered, and not where it is refused anyway.
        self._service.drain(FAILED_DRAIN_TIMEOUT)
        if action == "unload" or (action is None and processes.loads_on_demand(os.getppid())):
            try:
                self._pb_utils.unload_model(name)
            except Exception as error:
                self._logger.log_warn(f"[vllm] model {name} cannot be unloaded: {one_line(error)}")
            else:
                self._logger.log_error(f"[vllm] model {name} was unloaded: its engine died")
                return
        if action in (None, "stop"):
            self._logger.log_error(f"[vllm] stopping the server: the engine of model {name} died")
            os.kill(os.getppid(), signal.SIGTERM)


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
