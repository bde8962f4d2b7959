"""The fields of the run: seed, precision and strategy."""

from dataclasses import dataclass

from fieldtrial.fields.choices import (
    Compile,
    Precision,
    Strategy,
)
from fieldtrial.fields.groups.group import Group

_run = Group("run")


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFields:
    """The fields of the run: seed, precision and strategy."""

    seed: int = _run(
        0, "seed of validation split, initial weights, order, augmentation and dropout", 0
    )
    precision: Precision = _run("fp32", "bf16: autocast, with fp32 weights")
    compile: Compile = _run("auto", "torch.compile; auto: on GPUs, if the steps are many enough")
    strategy: Strategy = _run(
        "ddp", "for several processes: data parallel, or DeepSpeed ZeRO stage 1 to 3"
    )
