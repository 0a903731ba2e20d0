"""The devices to train on, from the option `device`."""

import os
import re
import sys


def devices(asked: str) -> list[str]:
    """The device of each worker: `auto` is every GPU, or the CPU once per core; ValueError for a missing device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise ValueError(f"`device` must be auto, cpu, cuda or cuda:N, got {asked!r}")
    if asked == "cpu" or (asked == "auto" and not _driver()):
        return ["cpu"] * _cores()
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        return [f"cuda:{i}" for i in range(gpus)] or ["cpu"] * _cores()
    if not gpus:
        raise ValueError(f"`device` is {asked!r}, but PyTorch sees no CUDA GPU here; use cpu or auto")
    if asked == "cuda":
        return [f"cuda:{i}" for i in range(gpus)]
    if int(asked.removeprefix("cuda:")) >= gpus:
        raise ValueError(f"`device` is {asked!r}, but the GPUs here are cuda:0 to cuda:{gpus - 1}")
    return [asked]


def _driver() -> bool:
    """Whether the machine may have a GPU driver: on Linux this saves the seconds of importing torch to learn it."""
    return sys.platform != "linux" or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
