"""Processor, memory, disk, network and GPU use of a run, sampled in the background."""

import logging
import threading
from typing import Any

import torch

from lua_lightning.errors import first_line
from lua_lightning.tracking.delivery import Worker
from lua_lightning.tracking.spool import Spool

log = logging.getLogger(__name__)

SYSTEM_SECONDS = 10.0


class SystemMetrics:
    """Samples processor, memory, disk, network and GPUs into a spool, under MLflow's own `system/` names."""

    def __init__(self, spool: Spool, first_step: int) -> None:
        self._spool = spool
        self._step = first_step
        self._monitors: list[Any] = []
        self._thread: Worker | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = Worker(self._sample, "system-metrics")
            self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _sample(self) -> float:
        try:
            if self._monitors:
                metrics = {f"system/{key}": value for key, value in self._read().items()}
                self._spool.append(step=self._step, metrics=metrics)
                self._step += 1
            else:
                self._monitors = _monitors()
                self._read()  # processor use is measured from one reading to the next
        except Exception as error:  # whatever a driver or the operating system raises, training goes on
            log.warning("no system metrics from here on (%s)", first_line(error))
            return threading.TIMEOUT_MAX
        return SYSTEM_SECONDS

    def _read(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            metrics.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        return metrics


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    if torch.cuda.is_available():
        try:
            monitors.append(ROCMMonitor() if torch.version.hip else GPUMonitor())
        except Exception as error:  # the vendor's package is missing, or its driver does not answer
            log.warning("system metrics lack the GPUs (%s)", first_line(error))
    return monitors
