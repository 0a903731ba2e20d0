"""The devices to train on, from the option `device`."""

import os
import re
import sys


def devices(asked: str) -> list[str]:
    """The device of each worker: `auto` is every GPU, or the CPU once per core; ValueError for a missing device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise ValueError(f"`device` must be auto, cpu, cuda or cuda:N, got {asked!r}")
    cpus = ["cpu"] * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if asked == "cpu" or (asked == "auto" and not _driver()):
        return cpus
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    if asked == "auto":
        return gpus or cpus
    if not gpus:
        raise ValueError(f"`device` is {asked!r}, but PyTorch sees no CUDA GPU here; use cpu or auto")
    if asked != "cuda" and asked not in gpus:
        raise ValueError(f"`device` is {asked!r}, but the GPUs here are cuda:0 to {gpus[-1]}")
    return gpus if asked == "cuda" else [asked]


def _driver() -> bool:
    """Whether the machine may have a GPU driver: on Linux this saves the seconds of importing torch to learn it."""
    return sys.platform != "linux" or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")))
