"""Looks at configs before anything is started, and prepares their data: python -m fieldtrial.training.prepare

Reads a JSON list of configs from the standard input, and writes one answer for each to the standard output: what is
wrong with it, or what it comes to (parameters, operations, images). Decoded images and downloaded weights stay for the
trials.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from fieldtrial.config import TrainConfig
from fieldtrial.run import Run
from fieldtrial.training.fit import describe, open_trial


def main() -> None:
    """Answer for all configs of the standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    json.dump([look_at(TrainConfig.from_dict(values)) for values in json.load(sys.stdin)], answers)
    answers.close()


def look_at(config: TrainConfig) -> dict[str, Any]:
    """Return {"problems": texts} and, if there are none, the numbers of `fit.describe`."""
    try:
        data, network = open_trial(config, Run(Path.cwd()))
    except (ValueError, OSError) as error:
        return {"problems": str(error).splitlines()}
    return {"problems": [], **describe(network, data)}


if __name__ == "__main__":
    main()
