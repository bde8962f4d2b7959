"""What does it cost, and gain, to train all of a pretrained model and not only its last layer?

python sweeps/inat_feature_extract.py [--cluster NAME]

Report 000, part B, question 3, first 2 x 2 table (validation accuracy, loss, minutes): ResNet-50
all 82.3 %, 0.56, 4.8; last layer 74.7 %, 0.80, 2.7; InceptionV3 all 83.3 %, 0.53, 6.7; last layer
75.3 %, 0.98, 3.2. Its five epochs end before the first fall of the learning rate. Cost: see
--dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import choice, loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return 2 models x (all layers, the last one)."""
    return Sweep(
        base=TrainConfig(
            dataset="inat10",
            weights="imagenet",
            validation_fraction=0.1,
            epochs=5,
            schedule="step",
            batch_size=32,
        ),
        rows=grid(model=["resnet50", "inception_v3"], freeze=["none", "all_but_head"]),
        search={"lr": loguniform(1e-4, 1e-1), "optimizer": choice(["sgd", "adam"])},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
