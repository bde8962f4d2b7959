"""How busy a sweep keeps its slots: wall time over the ideal of 48 trials of five seconds on all
cores of this machine.

python benchmarks/packing.py [--repeats 3]

The trials sleep instead of training, so only orchestration is measured: ten epochs of half a
second, one trial a core. `engine` is the sweep alone, `command` includes starting and ending Ray.
Writes benchmarks/results/packing.json.
"""

import argparse
import os
import tempfile
import time

from machine import HERE, spread, write_result

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep, grid

STAND_IN = (str(HERE / "stand_in_worker.py"),)
TRIALS, EPOCHS, EPOCH_SECONDS = 48, 10, 0.5


def measure() -> dict[str, float]:
    """Return wall time over the ideal, of the engine alone and with Ray's start and end, and the
    seconds per trial.
    """
    sweep = Sweep(
        base=TrainConfig(epochs=EPOCHS), rows=grid(batch_size=range(1, TRIALS + 1)), seeds=0
    )
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = LocalPlace(LocalSettings(), STAND_IN)
        start = time.monotonic()
        Engine(sweep, SweepFolder(folder), place).run()
        end = time.monotonic()
        place.close()
    ideal = TRIALS * EPOCHS * EPOCH_SECONDS / place.slots
    return {
        "engine": (end - start) / ideal,
        "command": (time.monotonic() - begin) / ideal,
        "slots": place.slots,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ["EPOCH_SECONDS"] = str(EPOCH_SECONDS)
    runs = [measure() for _ in range(options.repeats)]
    result = {
        "what": (
            f"wall time over ideal, {TRIALS} trials of {EPOCHS * EPOCH_SECONDS:g} s on"
            f" {runs[0]['slots']:g} slots"
        ),
        "wall_over_ideal": {
            name: spread([run[name] for run in runs]) for name in ("engine", "command")
        },
    }
    write_result("packing", result)


if __name__ == "__main__":
    main()
