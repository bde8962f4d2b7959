"""How should a digit classifier be adapted to digits that it has never seen?

python sweeps/digits_transfer.py    (data of scikit-learn, no download)

A source model of each kind learns 0-4. It is then fine-tuned on 5-9, frozen to different depths.
Result: README.md.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform, uniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return the table: 2 models x 3 freezing schemes x 2 optimisers x 2 batch sizes."""
    base = TrainConfig(
        dataset="digits", classes="5-9", epochs=10, schedule="cosine",
        filters=(16, 32, 64, 64, 64), dense_width=(64, 32),
    )  # fmt: skip
    return Sweep(
        base=base,
        source={"classes": "0-4", "lr": 0.003, "batch_size": 32},
        rows=grid(
            model=["cnn", "mlp"],
            freeze=["none", "first:1", "all_but_head"],
            optimizer=["sgd", "adamw"],
            batch_size=[16, 64],
        ),
        search={"lr": loguniform(1e-4, 1e-1), "label_smoothing": uniform(0.0, 0.2)},
        trials=8,
        seeds=3,
    )


if __name__ == "__main__":
    main(sweep)
