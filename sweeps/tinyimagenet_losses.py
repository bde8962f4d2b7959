"""Do center and triplet loss help beside cross-entropy on 50 classes of Tiny ImageNet?

python sweeps/tinyimagenet_losses.py [--cluster NAME]    (Tiny ImageNet is downloaded)

Report 003, question 2: ResNet-18, 15 epochs. On test: cross-entropy nearly 50 %, center loss 2 to
5 % (a mistake, it thinks); triplet loss as plots. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return cross-entropy, center loss by weight and rate, triplet loss by margin."""
    return Sweep(
        base=TrainConfig(
            dataset="tinyimagenet",
            classes="50",
            model="resnet18",
            weights="imagenet",
            image_size=64,
            epochs=15,
            schedule="cosine",
        ),
        rows=[
            {"loss": "cross_entropy"},
            *grid(loss=["center"], loss_weight=[0.001, 0.003, 0.01], center_lr=[0.5]),
            *grid(loss=["center"], loss_weight=[0.003], center_lr=[0.1, 0.9]),
            *grid(loss=["triplet"], margin=[0.2, 0.5, 1.0]),
        ],
        search={"lr": loguniform(1e-4, 1e-2)},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
