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
from fieldtrial.own.project import roots, trusted
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
        **_project(),
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
    copied, changes = _copied("commit.txt"), _code_changes()
    commit = (
        git.commit(Path(__file__).parent) if copied is None else copied.decode().strip() or None
    )
    return {"commit": commit, "dirty": bool(changes) if commit and changes is not None else None}


@functools.cache
def _project() -> dict[str, Any]:
    """Return the commit of the project whose own parts run, and whether the project differs."""
    if not (trusted() and roots()):
        return {}
    copied, changes = _copied("project-commit.txt"), _project_changes()
    commit = git.commit(roots()[0]) if copied is None else copied.decode().strip() or None
    is_dirty = bool(changes) if commit and changes is not None else None
    return {"project_commit": commit, "project_dirty": is_dirty}


def uncommitted_changes() -> bytes | None:
    """Return the diffs of the running code, and of the project of own parts, to their commits.

    Each has at most 100 kB. None without a commit of the code.
    """
    changes, of_project = _code_changes(), _project_changes()
    return changes if of_project in (None, changes) else (changes or b"") + (of_project or b"")


@functools.cache
def _project_changes() -> bytes | None:
    if not (trusted() and roots()):
        return None
    copied = _copied("project-diff.patch")
    return _clipped(git.changes(roots()[0]) if copied is None else copied)


@functools.cache
def _code_changes() -> bytes | None:
    copied = _copied("diff.patch")
    return _clipped(git.changes(Path(__file__).parent) if copied is None else copied)


def _clipped(diff: bytes | None) -> bytes | None:
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
