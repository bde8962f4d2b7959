"""The processes that train one trial together: one, or those that a launcher or a job started."""

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from torch._C._distributed_c10d import Store

from fieldtrial.processes import die_with_parent
from fieldtrial.training.distributed.peers import require_peers
from fieldtrial.training.distributed.rendezvous import (
    LOOPBACK,
    MEETING_TIMEOUT,
    Meeting,
    is_torchruns,
    listen_at,
    meet,
    meet_in_memory,
    own_address,
    torchruns_store,
    warn_of_torchrun,
)

T = TypeVar("T")
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
        control: the process group for plain data; tensors use the default group.
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

        GPUs communicate through NCCL, CPUs through gloo. Processes meet in the memory that a
        launcher has left them (FIELDTRIAL_MEETING); or, if FIELDTRIAL_RENDEZVOUS names a file that
        all of them see, at the address that rank 0 writes there; or at torchrun's MASTER_ADDR and
        MASTER_PORT, with a warning. Before anything else is exchanged, each process that did not
        come by torchrun proves to the others that it is of this trial.

        Raises:
            ValueError: as `described`.
            NotAPeer: a process that is none of the trial's has come in between.
            TimeoutError: the processes have not met.
        """
        world = cls.described()
        rank, size, device = world.rank, world.size, world.device
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        if size == 1:
            return world
        # Processes that torchrun or srun has started would train on after that is killed.
        die_with_parent()
        meeting = _meet(rank, size)
        store: Store | None = meeting and meeting.store
        if meeting is None and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == size:
            store = torchruns_store(size)
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            timeout=TRAINING_TIMEOUT,
            store=store,
            rank=rank,
            world_size=size,
            device_id=device if on_gpu else None,
        )
        control = distributed.new_group(backend="gloo", timeout=IDLE_TIMEOUT)
        if meeting:
            for group in (control,) if on_gpu else (distributed.group.WORLD, control):
                require_peers(group, meeting.secret, rank, size, MEETING_TIMEOUT)
        return cls(rank, size, device, control)

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
        """Return rank 0's `value` to all processes: plain data, sent as JSON.

        Whatever another process sends, no code runs here.
        """
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.is_rank_0 else b""
        # By their texts: NaN does not equal itself.
        assert not text or repr(json.loads(text)) == repr(value), "not plain data"
        length = torch.tensor([len(text)])
        distributed.broadcast(length, src=0, group=self.control)
        data = torch.empty(int(length), dtype=torch.uint8)
        if self.is_rank_0:
            data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        distributed.broadcast(data, src=0, group=self.control)
        received: T = value if self.is_rank_0 else json.loads(data.numpy().tobytes())
        return received

    def broadcast_tensor(self, tensor: torch.Tensor) -> None:
        """Overwrite `tensor` with rank 0's, in place."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def close(self) -> None:
        """Leave the group of processes."""
        if self.size > 1:
            distributed.destroy_process_group()


def _meet(rank: int, size: int) -> Meeting | None:
    """Return where these processes meet; None for those of torchrun."""
    is_one_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == size
    if memory := os.environ.get("FIELDTRIAL_MEETING"):
        listen_at(LOOPBACK)
        return meet_in_memory(int(memory), rank, size)
    if file := os.environ.get("FIELDTRIAL_RENDEZVOUS"):
        address = own_address(is_one_machine)
        listen_at(address)
        # NCCL's watchdog would ask the store every second, from a thread that outlives Python.
        os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "0")
        return meet(Path(file), rank, size, address)
    if rank == 0 and is_torchruns():
        warn_of_torchrun()
    return None
