"""jobs/train.py where it takes seconds to write down why a run has ended, longer than other
processes take to end.
"""

import runpy
import time
from pathlib import Path
from typing import Any

from fieldtrial.disk.run import Run

ROOT = Path(__file__).parents[2]
SECONDS = 8
write_at_once = Run.write_error


def write_slowly(*arguments: Any) -> None:
    """Write error.json, in a while."""
    time.sleep(SECONDS)
    write_at_once(*arguments)


if __name__ == "__main__":
    setattr(Run, "write_error", write_slowly)  # noqa: B010 (which mypy would not let pass as an assignment)
    runpy.run_path(str(ROOT / "jobs" / "train.py"), run_name="__main__")
