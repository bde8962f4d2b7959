"""jobs/train.py on a machine on which trials of seed 8 do not fit into memory: see
tests/control/faulty_worker.py.
"""

import runpy
from pathlib import Path

from fieldtrial.training.loop import fit

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    faulty = runpy.run_path(str(ROOT / "tests" / "control" / "faulty_worker.py"))
    vars(fit).update(open_trial=faulty["open_on_a_small_device"])
    runpy.run_path(str(ROOT / "jobs" / "train.py"), run_name="__main__")
