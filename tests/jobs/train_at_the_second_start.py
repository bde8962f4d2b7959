"""jobs/train.py whose process dies at its first start, before it has begun an attempt."""

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        sys.exit("dies")
    runpy.run_path(str(ROOT / "jobs" / "train.py"), run_name="__main__")
