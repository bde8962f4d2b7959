"""Which pretrained model is best on iNaturalist 12K, each tuned and frozen in its own way?

python sweeps/inat_models.py [--cluster NAME]

Report 000, part B, question 3: all of its models. Its best on validation: ResNet-101 82.6 %,
InceptionV3 81.6, ResNet-50 80.7, DenseNet-161 79.6, VGG-11 75.6, SqueezeNet 65.4.
Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import Domain, choice, loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each model."""
    models = [
        "resnet50", "resnet101", "inception_v3", "densenet161", "vgg11", "squeezenet1_1", "alexnet",
    ]  # fmt: skip
    # torchvision's defaults are of newer recipes for the two ResNets, and for none of the others.
    rows = grid(model=models, weights="imagenet:IMAGENET1K_V1")
    rows += grid(model=["timm:inception_resnet_v2", "timm:xception"], weights="imagenet")
    base = TrainConfig(dataset="inat10", validation_fraction=0.1, epochs=10, schedule="step")
    search: dict[str, Domain] = {
        "freeze": choice(["all_but_head", "all_but_last:2", "all_but_last:3"]),
        "lr": loguniform(1e-4, 1e-1),
        "optimizer": choice(["sgd", "adam", "adagrad"]),
        "batch_size": choice([32, 64]),
        "gamma": choice([0.1, 0.5]),
    }
    return Sweep(base=base, rows=rows, search=search, trials=8)


if __name__ == "__main__":
    main(sweep)
