"""How much of a fine-tuned model's accuracy comes from its pretrained weights?

python sweeps/inat_pretrained.py [--cluster NAME]

Report 000, part B, question 3, second 2 x 2 table (validation accuracy, loss, minutes): ResNet-50
random 14.6 %, 2.43, 2.4, pretrained 81.2 %, 0.59, 2.3; InceptionV3 random 13.9 %, 2.28, 2.7,
pretrained 81.9 %, 0.57, 2.7. Its minutes are those of a mostly frozen network, so the last three
units train here. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import choice, loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return 2 models x (random weights, ImageNet's)."""
    return Sweep(
        base=TrainConfig(
            dataset="inat10",
            freeze="all_but_last:3",
            validation_fraction=0.1,
            epochs=5,
            schedule="step",
            batch_size=32,
        ),
        rows=[
            *grid(model=["resnet50"], image_size=[224], weights=["random", "imagenet"]),
            *grid(model=["inception_v3"], image_size=[299], weights=["random", "imagenet"]),
        ],
        search={"lr": loguniform(1e-4, 1e-1), "optimizer": choice(["sgd", "adam"])},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
