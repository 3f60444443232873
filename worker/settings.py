"""Settings of a worker, from `LIG_*` variables. The only module of the worker that reads the environment."""

from __future__ import annotations

import os
import re

from pydantic import Field

from lig_core.serving.settings import CommonSettings
from lig_core.threads import thread_variables

PARENT_VARIABLE = "LIG_WORKER_PID"
"""Tells the process with the models whose it is."""


class Settings(CommonSettings):
    """Beside the common settings, those of a worker alone."""

    device: str | None = Field(default=None, description="Such as cpu or cuda:0; absent: the best there is.")
    preload: list[str] = Field(default=[], description="Models to load before the first job, as a JSON list.")
    model_budget: int | None = Field(
        default=None, ge=1, description="Bytes that loaded models may take; absent: half of the device's memory."
    )
    lease: float = Field(default=20.0, ge=2, description="A silent worker's job is given to another after this long.")
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads that a job is computed with on the CPU; absent: OMP_NUM_THREADS, else the processors that "
        "are granted, by affinity or by the container's quota.",
    )
    load_timeout: float = Field(default=300.0, gt=0, description="How long preloading the models may take.")
    drain_grace: float = Field(
        default=7.0, ge=0, description="On SIGTERM, how long a running job may go on before it is queued again."
    )

    def as_environment(self) -> dict[str, str]:
        """These settings as the environment of the process with the models, on top of this process's own."""
        environment = super().as_environment()
        return {**environment, **thread_variables(self.threads, environment), **self._device_environment()}

    def _device_environment(self) -> dict[str, str]:
        """One GPU, the one meant, is all that the process with the models sees."""
        index = re.fullmatch(r"cuda:(\d+)", self.device or "")
        if index is None:
            return {}
        visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        number = int(index[1])
        # Numbers count among the devices that this process may see.
        return {"CUDA_VISIBLE_DEVICES": visible[number] if number < len(visible) else str(number), "LIG_DEVICE": "cuda"}
