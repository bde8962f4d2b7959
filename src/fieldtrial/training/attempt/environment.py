"""What an attempt runs on, for env.json, and the uncommitted changes of its code."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import socket
from pathlib import Path
from typing import Any

import torch

from fieldtrial.installed import git
from fieldtrial.training.distributed.world import World

# What a trial's numbers may depend on.
PACKAGES = (
    "fieldtrial", "torch", "torchvision", "timm", "deepspeed", "numpy", "pillow",
    "scikit-learn", "safetensors",
)  # fmt: skip
JOB_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_NODELIST",
)
MAX_CHANGES = 100_000  # bytes


def environment(world: World) -> dict[str, Any]:
    """Return code, host, devices, versions, process and job ids; what is unknown is left out."""
    return {
        **_code(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "devices": _devices(),
        "world_size": world.size,
        "python": platform.python_version(),
        "versions": _versions(),
        "process": os.getpid(),
        "job": {name: os.environ[name] for name in JOB_VARIABLES if name in os.environ},
    }


@functools.cache  # a warm worker goes on running the code it started with
def _code() -> dict[str, Any]:
    """Return the commit of the code that runs, and whether the code differs from it."""
    copied, changes = _copied("commit.txt"), uncommitted_changes()
    commit = (
        git.commit(Path(__file__).parent) if copied is None else copied.decode().strip() or None
    )
    return {"commit": commit, "dirty": bool(changes) if commit and changes is not None else None}


@functools.cache
def uncommitted_changes() -> bytes | None:
    """Return the diff of the running code to its commit, at most 100 kB; None without a commit."""
    copied = _copied("diff.patch")
    diff = git.changes(Path(__file__).parent) if copied is None else copied
    if diff is None or len(diff) <= MAX_CHANGES:
        return diff
    start = diff[:MAX_CHANGES].rpartition(b"\n")[0]
    return start + f"\n[cut off here: the diff has {len(diff)} bytes]\n".encode()


def _copied(name: str) -> bytes | None:
    """Return a file beside the snapshot of the package that SLURM jobs run; None outside of one."""
    try:
        return (Path(__file__).parents[3] / name).read_bytes()
    except FileNotFoundError:
        return None


@functools.cache
def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def _devices() -> list[str]:
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    models = [
        line.split(":", 1)[1].strip()
        for line in _processor_facts()
        if line.startswith("model name")
    ]
    return models[:1] or [platform.machine()]


def _processor_facts() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
