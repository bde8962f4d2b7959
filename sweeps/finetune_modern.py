"""Which of today's ways to fine-tune a network is best on your own images, and what does it cost?

python sweeps/finetune_modern.py --set dataset=folder:PATH [--rows model=resnet18] [--cluster NAME]
fieldtrial table runs/finetune_modern --show trainable_share,peak_memory_mb,minutes

Each way has its source in docs/trials.md. SqueezeNet has no norms that could train alone.
Cost: see --dry-run. Ours, on two small networks: docs/measured.md.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep

MODELS = ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "timm:vit_tiny_patch16_224")
FREEZE = (
    "none", "all_but_head", "probe_then_all:3", "gradual:1", "block:2", "only:biases", "only:norms",
    "lora:8",
)  # fmt: skip
LAYER_DECAY = {"layer_decay": 0.75}


def sweep() -> Sweep:
    """Return each model with each way: what trains, and when, and how fast deeper layers learn."""
    ways: list[dict[str, object]] = [{"freeze": freeze} for freeze in FREEZE]
    ways += [{"freeze": "none", **LAYER_DECAY}, {"freeze": "gradual:1", **LAYER_DECAY}]
    rows = [{"model": model, **way} for model in MODELS for way in ways]
    base = TrainConfig(
        dataset="inat10", weights="imagenet", epochs=15, schedule="cosine", warmup_fraction=0.1
    )
    rows = [row for row in rows if row != {"model": "squeezenet1_1", "freeze": "only:norms"}]
    return Sweep(base=base, rows=rows, search={"lr": loguniform(1e-5, 1e-1)}, trials=8, seeds=3)


if __name__ == "__main__":
    main(sweep)
