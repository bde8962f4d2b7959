"""jobs/train.py on a share of a GPU's memory: python on_little_memory.py SHARE flags ..."""

import runpy
import sys
from pathlib import Path

import torch

JOB = Path(__file__).resolve().parents[2] / "jobs" / "train.py"

if __name__ == "__main__":
    torch.cuda.set_per_process_memory_fraction(float(sys.argv.pop(1)))
    runpy.run_path(str(JOB), run_name="__main__")
