"""What do filters that were never trained cost, in a narrow network and in a wide one?

python sweeps/outlines.py    (images are computed; a minute on four cores)

Model, data, loss, freezing scheme and metric are this project's own, in lab/.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform, uniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return the table: 2 widths x 2 freezing schemes."""
    base = TrainConfig(
        dataset="lab.data:outlines",
        model="lab.nets:Stages",
        loss="lab.training:focal",
        metrics=("lab.training:worst_class",),
        options={"dataset.noise": 0.3},
        epochs=8,
        schedule="cosine",
    )
    return Sweep(
        base=base,
        rows=grid(freeze=["none", "lab.training:filters"], **{"model.width": [4, 12]}),
        search={"lr": loguniform(1e-3, 1e-1), "loss.gamma": uniform(0.0, 3.0)},
        trials=4,
        seeds=3,
    )


if __name__ == "__main__":
    main(sweep)
