"""Which part of a pretrained ResNet-50 should be trained on STL-10?

python sweeps/stl10_layers.py [--cluster NAME]    (STL-10 is downloaded)

Report 003, question 1b: its eight configurations; the last layer always trains. It gives 79.7 % on
test for the last layer alone, and plots for the others. Its confusion matrix has nine classes, the
last with twice the images: two of the ten were merged. Here are ten. Cost: see --dry-run. Ours: not
run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each part."""
    base = TrainConfig(
        dataset="stl10", model="resnet50", weights="imagenet", image_size=96, epochs=15
    )
    parts = [
        "layer1", "layer2", "layer3", "layer4", "convolutions", "batch_norm", "downsampling",
    ]  # fmt: skip
    return Sweep(
        base=base,
        rows=grid(freeze=["all_but_head", *(f"only:{part}" for part in parts)]),
        search={"lr": loguniform(1e-5, 1e-2)},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
