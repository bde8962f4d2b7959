"""Sections: the card's own rates; large networks at 224 pixels; a small one that launches bind."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision.models
from on_gpu.images import CLASSES, photographs
from on_gpu.lines import Line, Say, Settings
from on_gpu.loops import (
    copy_rate,
    data_of,
    matrix_rate,
    new_run,
    per_call,
    plain_loop,
    settled,
    train,
    upload_rate,
    world_of,
)
from torch import nn

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.training.distributed.energy import EnergyMeter
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models.utilization import peak_rate, training_flops

MOST_WAIT = 0.05  # of the training's time, for data


def card(settings: Settings, say: Say) -> None:
    """Say what the device is and how fast it copies and multiplies."""
    if settings.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        memory = properties.total_memory / 2**30
        name = torch.cuda.get_device_name(0)
        peak = peak_rate(name, "bf16")
        sheet = f"; {peak / 1e12:.0f} TFLOP/s in bf16 by its data sheet" if peak else ""
        say(Line(f"{name}, {memory:.0f} GiB, torch {torch.__version__}{sheet}"))
    else:
        say(Line(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"))
    turns = range(settings.repeats)
    say(Line("copy within the device", [copy_rate(settings) / 1e9 for _ in turns], "GB/s"))
    say(Line("copy to the device", [upload_rate(settings) / 1e9 for _ in turns], "GB/s"))
    for dtype in (torch.bfloat16, torch.float32):
        what = f"matrix product, {str(dtype).removeprefix('torch.')}"
        rates = [matrix_rate(settings, dtype) / 1e12 for _ in turns]
        say(Line(what, rates, "TFLOP/s"))
    say(_power(settings))


def _power(settings: Settings) -> Line:
    """Return the power of the device while it multiplies, by the counter that trials use."""
    with EnergyMeter(world_of(settings)) as meter:
        began = time.perf_counter()
        while time.perf_counter() - began < (0.1 if settings.small else 2):
            matrix_rate(settings)
        joules, seconds = meter.joules(), time.perf_counter() - began
        shared = "others use it too" if meter.shared else ""
    what = "power in the matrix product, by the device's counter of energy"
    if joules is None:
        return Line(what, remark="there is no counter that can be read")
    return Line(what, [joules / seconds], "W", remark=shared)


def photos(settings: Settings) -> str:
    """Return the data set of JPEG files that large networks train on."""
    count, side = (24, 40) if settings.small else (2560, 256)
    return photographs(settings.folder / "photographs", count, side)


def store(settings: Settings, say: Say) -> None:
    """Decode JPEG files once, for all sections that train on them."""
    config = _large(settings, "torchvision:resnet50", 8)
    began = time.perf_counter()
    data = data_of(config, settings)
    each = 1000 * (time.perf_counter() - began) / len(data.images)
    size = f"{config.image_size} pixels, of {len(data.images)} files"
    say(Line(f"a JPEG file into the store, {size}", [each], "ms", (), "<= 1.5"))


def _large(settings: Settings, model: str, batch: int, **fields: Any) -> TrainConfig:
    chosen = {
        "dataset": photos(settings),
        "model": model,
        "image_size": 32 if settings.small else 224,
        "batch_size": 8 if settings.small else batch,
        "epochs": 2 if settings.small else 4,
        "validation_fraction": 0.1,
        "precision": "bf16",
        **fields,
    }
    return TrainConfig.from_dict(chosen)


def _beside_a_plain_loop(
    settings: Settings,
    say: Say,
    config: TrainConfig,
    build: Callable[[], nn.Module],
    goal: str,
) -> None:
    """Say ours in bf16 and fp32 beside the plain loop, and which share of the matrix rate it is."""
    data = data_of(config, settings)
    size = min(config.batch_size, len(data.train))
    steps = 2 if settings.small else 12
    optimizer = optimizer_of(config)
    ours, peer, waited, memory, by_sheet = [], [], [], [], []
    for _ in range(settings.repeats):
        peer.append(plain_loop(build(), data, size, steps, settings, optimizer))
        records = train(config, settings)
        ours.append(settled(records, "images_per_second"))
        waited.append(settled(records, "data_wait"))
        memory.append(records[-1]["peak_memory_mb"] / 1000)
        by_sheet.append(settled(records, "utilization"))
    what = f"{config.model}, {config.image_size} pixels, batches of {size}"
    say(Line(f"{what}: bf16, beside a plain fp32 loop", ours, "images/s", peer, goal))
    say(Line("share of the time that waited for data", waited, "", goal=f"<= {MOST_WAIT}"))
    say(Line("peak memory", memory, "GB"))
    network = open_trial(config, new_run(config, settings))[1].to(world_of(settings).device)
    flops = training_flops(network)
    rate = matrix_rate(settings)
    shares = [speed * flops / rate for speed in ours]
    remark = f"{flops / 1e9:.3g} GFLOPs an image; {np.median(by_sheet):.3f} of its data sheet's"
    say(Line("share of the measured bf16 matrix rate", shares, "", remark=remark))
    single = dataclasses.replace(config, precision="fp32")
    speed = settled(train(single, settings), "images_per_second")
    say(Line("the same in fp32", [speed], "images/s", peer))


def optimizer_of(config: TrainConfig) -> Callable[[Any], torch.optim.Optimizer]:
    """Return what makes torch's optimiser with the config's settings and no option for speed."""
    if config.optimizer == "sgd":
        return lambda weights: torch.optim.SGD(weights, config.lr, momentum=config.momentum)
    assert config.optimizer == "adamw"
    return lambda weights: torch.optim.AdamW(weights, config.lr, weight_decay=config.weight_decay)


def resnet50(settings: Settings, say: Say) -> None:
    """ResNet-50, and its data wait with random crops from the original images."""
    fields = {"optimizer": "sgd", "lr": 0.1}
    config = _large(settings, "torchvision:resnet50", 256, **fields)

    def build() -> nn.Module:
        made: nn.Module = torchvision.models.resnet50(num_classes=CLASSES)
        return made

    _beside_a_plain_loop(settings, say, config, build, ">= 3")
    config = dataclasses.replace(config, augmentation=("random_resized_crop", "horizontal_flip"))
    records = train(config, settings)
    waited = settled(records, "data_wait")
    remark = f"{settled(records, 'images_per_second'):.0f} images/s"
    say(
        Line(
            "with random-resized crop and flip: data wait",
            [waited],
            "",
            (),
            f"<= {MOST_WAIT}",
            remark,
        )
    )


def vit(settings: Settings, say: Say) -> None:
    """ViT-B/16; where it is to be small, timm's smallest one."""
    name = "timm:vit_tiny_patch16_224" if settings.small else "torchvision:vit_b_16"
    config = _large(settings, name, 128, lr=1e-4, image_size=224)

    def build() -> nn.Module:
        if settings.small:
            import timm

            made: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES)
            return made
        whole: nn.Module = torchvision.models.vit_b_16(num_classes=CLASSES)
        return whole

    _beside_a_plain_loop(settings, say, config, build, ">= 2")


def small_network(settings: Settings, **fields: Any) -> TrainConfig:
    """Return the CNN of five blocks at 64 pixels, whose steps take as long as their launches."""
    count = 64 if settings.small else 4096
    chosen = {
        "dataset": photographs(settings.folder / "small", count, 64),
        "image_size": 64,
        "filters": [32],
        "filter_growth": 1.0 if settings.small else 2.0,
        "blocks": 5,
        "batch_size": 16 if settings.small else 64,
        "epochs": 3 if settings.small else 5,
        "validation_fraction": 0.1,
        **fields,
    }
    return TrainConfig.from_dict(chosen)


def launches(settings: Settings, say: Say) -> None:
    """The small CNN: eager, compiled where the project can, and the step without its launches."""
    config = small_network(settings)
    data = data_of(config, settings)
    steps = max(2, len(data.train) // config.batch_size * (config.epochs - 1))
    kinds: dict[str, dict[str, object]] = {"eager": {}}
    if "compile" in FIELDS:
        kinds = {f"compile = {kind}": {"compile": kind} for kind in ("off", "on")}
    peer: list[float] = []
    ours: dict[str, list[float]] = {name: [] for name in kinds}

    def model() -> nn.Module:
        return open_trial(config, new_run(config, settings))[1].model

    optimizer = optimizer_of(config)
    for turn in range(settings.repeats):
        peer.append(plain_loop(model(), data, config.batch_size, steps, settings, optimizer))
        for name, fields in kinds.items():
            if turn and name == "compile = on":
                continue  # compiling takes longer than all other turns
            records = train(TrainConfig.from_dict(fields, config), settings)
            ours[name].append(settled(records, "images_per_second"))
    for name, speeds in ours.items():
        what = f"CNN of five blocks, 64 pixels, batches of {config.batch_size}, fp32: {name}"
        say(Line(f"{what}, beside a plain loop", speeds, "images/s", peer))
    if settings.device == "cuda":
        network = model().to("cuda").train()
        say(_graph(network, config.batch_size, settings, peer))


def _graph(network: nn.Module, size: int, settings: Settings, peer: list[float]) -> Line:
    """Return the rate of the network's step as one CUDA graph: the limit for launches."""
    images = torch.rand(size, 3, 64, 64, device="cuda").to(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)
    labels = torch.zeros(size, dtype=torch.long, device="cuda")
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True, capturable=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    rates = [size / per_call(graph.replay, 100, settings) for _ in range(settings.repeats)]
    return Line(
        "the limit: the same step as one CUDA graph, without input", rates, "images/s", peer
    )
