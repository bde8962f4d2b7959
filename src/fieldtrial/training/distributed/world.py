"""The processes that train one trial together: one, or those that torchrun started."""

import ctypes
import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from torch._C._distributed_c10d import Store

from fieldtrial.training.distributed.rendezvous import listen_at, meet, own_address, torchruns_store

T = TypeVar("T")
PR_SET_PDEATHSIG = 1  # Linux: the signal to get when the parent dies
CPU = torch.device("cpu")

# How long processes wait for one another in training, and for the first one's word, which may be
# waiting for a task.
TRAINING_TIMEOUT = timedelta(minutes=30)
IDLE_TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class World:
    """This process among its peers: its number (`rank`), how many there are (`size`) and the device
    it computes on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    control: Any = None  # the process group for words, where `sum` and `share` are for tensors

    @classmethod
    def described(cls) -> "World":
        """Return the world that torchrun describes (RANK, WORLD_SIZE, LOCAL_RANK), or that of a
        single process, alone.

        It knows what the processes will be, and cannot talk to them: they need not have been
        started.

        Raises:
            ValueError: there are more processes on this machine than it has GPUs or, without GPUs
            or a job, cores.
        """
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        on_gpu = torch.cuda.is_available()
        kind, there = (
            ("GPUs", torch.cuda.device_count())
            if on_gpu
            else ("cores", len(os.sched_getaffinity(0)))
        )
        if local_size > there and (on_gpu or not os.environ.get("FIELDTRIAL_RENDEZVOUS")):
            raise ValueError(
                f"{local_size} processes on a machine with {there} {kind}: start at most one for"
                " each"
            )
        return cls(rank, size, torch.device("cuda", local_rank) if on_gpu else CPU)

    @classmethod
    def from_environment(cls) -> "World":
        """Return the world that torchrun describes, as `described` does, when its processes have
        met.

        Processes talk through NCCL between GPUs and through gloo between CPUs. They meet at
        torchrun's MASTER_ADDR and MASTER_PORT or, where FIELDTRIAL_RENDEZVOUS names a file that all
        of them see, where the first says there. Such processes are a job's: each sees its own
        cores, of which there are as many as the job has asked for.

        Raises:
            what `described` does.
        """
        world = cls.described()
        rank, size, device = world.rank, world.size, world.device
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        if size == 1:
            return world
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        file = os.environ.get("FIELDTRIAL_RENDEZVOUS")
        # torchrun starts each process in a session of its own: if torchrun is killed, they would
        # train on
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        backend: str = "nccl" if on_gpu else "gloo"
        store: Store | None = None
        if file:
            address = own_address(one_machine=local_size == size)
            listen_at(address)
            store = meet(Path(file), rank, size, address)
        elif local_size == size:
            store = torchruns_store(size)
        distributed.init_process_group(
            backend,
            timeout=TRAINING_TIMEOUT,
            store=store,
            rank=rank,
            world_size=size,
            device_id=device if on_gpu else None,
        )
        return cls(rank, size, device, distributed.new_group(backend="gloo", timeout=IDLE_TIMEOUT))

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over all processes, in float64 on the CPU."""
        total = values.detach().double().clone()
        if self.size > 1:
            distributed.all_reduce(total)
        return total.cpu()

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Return, to all processes, the first row of each, then the second of each, and so on. All
        have as many.
        """
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of `tensor` over all processes, as it is and where it is; `tensor` itself
        may change.
        """
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return, to all processes, whether `flag` is true in any of them."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def broadcast(self, value: T) -> T:
        """Return the first process's `value` to all. It is pickled, which is safe between processes
        of one trial.
        """
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def share(self, tensor: torch.Tensor) -> None:
        """Overwrite `tensor` with the first process's, in place."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def close(self) -> None:
        """Leave the group of processes."""
        if self.size > 1:
            distributed.destroy_process_group()
