"""Sections: too little memory, resuming, and the processes of a trial on a GPU."""

import contextlib
import json
import subprocess
from pathlib import Path

import torch
from on_gpu.lines import Line, Say, Settings
from on_gpu.loops import new_run, root_of, train, world_of
from on_gpu.networks import small_network
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fieldtrial.processes import python
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit

ENOUGH = 0.7  # of the memory that a whole batch needs: half of a batch fits
BATCH = 1024


def memory(settings: Settings, say: Say) -> None:
    """A batch that does not fit is halved, at the same global batch size, and trains the same."""
    if settings.device != "cuda":
        say(Line("a batch that does not fit", remark="left out: only a GPU's memory is limited"))
        return
    config = small_network(settings, batch_norm=False, batch_size=BATCH, epochs=2, filters=[64])
    whole = train(config, settings)
    total = torch.cuda.get_device_properties(0).total_memory
    most = ENOUGH * 1e6 * whole[-1]["peak_memory_mb"] / total
    run = settings.folder / "little-memory"
    script = Path(__file__).parent / "on_little_memory.py"
    command = [*python(str(script), str(most)), "--run", str(run), *config.to_flags()]
    done = subprocess.run(command, cwd=root_of(script), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-400:])
    result = json.loads((run / "result.json").read_text())
    apart = abs(result["validation_loss"] - whole[-1]["validation_loss"])
    parts = result.get("accumulate", 1)
    remark = "" if parts > 1 else "it was not halved: more memory than expected was left"
    say(
        Line(
            f"a batch of {BATCH} with {ENOUGH:.0%} of its memory: micro-batches",
            [parts],
            "",
            (),
            ">= 2",
            remark,
        )
    )
    say(
        Line(
            "validation loss after 2 epochs, apart from the whole batch's",
            [apart],
            "",
            (),
            "<= 1e-3",
        )
    )


def resume(settings: Settings, say: Say) -> None:
    """A trial that is left after an epoch and goes on, beside one that is not left."""
    config = small_network(settings, epochs=3)
    whole = train(config, settings)
    run = new_run(config, settings)
    with contextlib.closing(Fit(Attempt.at(run, world_of(settings))).records()) as records:
        for record in records:
            if record["epoch"] == 2:
                break
    again = list(Fit(Attempt.at(run, world_of(settings), number=2)).records())
    names = ("train_loss", "validation_loss")
    apart = max(abs(again[-1][name] - whole[-1][name]) for name in names)
    twice = train(config, settings)
    luck = max(abs(twice[-1][name] - whole[-1][name]) for name in names)
    remark = f"two trials without a break are {luck:.3g} apart"
    say(
        Line(
            "losses after a break, apart from those without", [apart], "", (), "as without", remark
        )
    )


def processes(settings: Settings, say: Say) -> None:
    """One process with NCCL: a step under DistributedDataParallel is the plain step."""
    backend = "nccl" if settings.device == "cuda" else "gloo"
    device = world_of(settings).device
    if settings.device == "cuda":
        torch.cuda.set_device(device)
    bound = device if settings.device == "cuda" else None
    where = f"file://{settings.folder}/meeting"
    distributed.init_process_group(
        backend, init_method=where, rank=0, world_size=1, device_id=bound
    )
    try:
        given = torch.arange(8.0, device=device)
        summed = given.clone()
        distributed.all_reduce(summed)
        gathered = [torch.empty_like(given)]
        distributed.all_gather(gathered, given)
        distributed.broadcast(given, src=0)
        assert torch.equal(summed, given)
        assert torch.equal(gathered[0], given)
        plain, wrapped = _step(device, wrap=False), _step(device, wrap=True)
        apart = max(
            float((one - other).abs().max()) for one, other in zip(plain, wrapped, strict=True)
        )
    finally:
        distributed.destroy_process_group()
    what = f"{backend}: weights after a step of DistributedDataParallel, apart from a plain step's"
    say(Line(what, [apart], "", (), "<= 1e-6", "all_reduce, all_gather and broadcast are right"))


def _step(device: torch.device, wrap: bool) -> list[Tensor]:
    """Return the weights of a small network after a step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 4))
    network = network.to(device)
    module: nn.Module = network
    if wrap:
        if device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        ids = [device.index] if device.type == "cuda" else None
        module = DistributedDataParallel(network, device_ids=ids)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    images = torch.linspace(0, 1, 4 * 3 * 64, device=device).view(4, 3, 8, 8)
    module(images).square().mean().backward()
    optimizer.step()
    return [weights.detach().cpu() for weights in network.parameters()]
