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

# Collective timeouts: during training, and while idle, waiting for rank 0's next task.
TRAINING_TIMEOUT = timedelta(minutes=30)
IDLE_TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class World:
    """This process and its peers.

    Attributes:
        rank: this process's number, from 0.
        size: how many processes there are.
        device: what this process computes on.
        control: the process group for objects; tensors use the default group.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    control: Any = None

    @classmethod
    def described(cls) -> "World":
        """Return the world of torchrun's RANK, WORLD_SIZE and LOCAL_RANK; else of one process.

        It is not connected: the other processes need not have been started.

        Raises:
            ValueError: there are more processes on this machine than it has GPUs or, without GPUs
                and outside a job, cores.
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
        """Return the world of `described` once its processes are connected.

        GPUs communicate through NCCL, CPUs through gloo. Processes meet at torchrun's MASTER_ADDR
        and MASTER_PORT or, if FIELDTRIAL_RENDEZVOUS names a file that all of them see, at the
        address that rank 0 writes there. The latter are a job's processes: each sees only the cores
        that the job asked for.

        Raises:
            ValueError: as `described`.
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
        # torchrun starts each process in its own session: without this, processes would train on
        # after torchrun is killed.
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
    def is_rank_0(self) -> bool:
        """Whether this is rank 0, the process that writes files and prints."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over all processes, in float64 on the CPU."""
        total = values.detach().double().clone()
        if self.size > 1:
            distributed.all_reduce(total)
        return total.cpu()

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Return, to all processes, the first row of each, then the second of each, and so on.

        All processes must have equally many rows.
        """
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return `tensor`, now the sum over all processes: same dtype, same device."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return, to all processes, whether `flag` is true in any of them."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def broadcast(self, value: T) -> T:
        """Return rank 0's `value` to all processes. It is pickled, which is safe within a trial."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        """Overwrite `tensor` with rank 0's, in place."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def close(self) -> None:
        """Leave the group of processes."""
        if self.size > 1:
            distributed.destroy_process_group()
