"""What a smoke says of itself."""

from fieldtrial.config import TrainConfig
from fieldtrial.control.smoke import smoke, stand_ins
from fieldtrial.sweep import Sweep, grid


def test_a_smoke_says_what_stands_in_for_data_weights_and_sizes() -> None:
    base = TrainConfig(dataset="folder:bees", image_size=224)
    rows = grid(model=["resnet18", "timm:inception_v4"], weights=["imagenet", "random"])
    sweep = Sweep(base=base, rows=rows)
    assert stand_ins(sweep, smoke(sweep)) == (
        "a smoke takes digits for folder:bees; weights random for imagenet; image_size 32, 96 for"
        " 224: --dry-run checks the sweep's own data and weights"
    )
    own = Sweep(base=TrainConfig(dataset="digits", image_size=16), rows=[{"lr": 0.1}])
    assert stand_ins(own, smoke(own)) == ""
