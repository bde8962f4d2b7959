"""A trial's process imports nothing that takes seconds and that it does not need."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt

config = TrainConfig(classes="2", epochs=2, model=sys.argv[2], images_per_class=8, image_size=32)
run = Run.create(Path(sys.argv[1]), config)
assert [record["epoch"] for record in train(Attempt.at(run, test=True))] == [0, 1, 2]
heavy = {"torch._dynamo.eval_frame", "sklearn", "scipy", "pandas"}
print(*sorted(heavy & sys.modules.keys()))
"""


def train_and_name_imports(path: Path, model: str) -> str:
    command = [sys.executable, "-c", SCRIPT, str(path), model]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return printed.splitlines()[-1].strip()  # what comes before is about the data


def test_what_is_excluded_from_compilation_stays_so_once_there_is_a_compiler() -> None:
    """Checked in a process of its own, because torch keeps one compiler for all."""
    script = """
import sys, torch
from fieldtrial.training.models.eager import defer_compiler
defer_compiler()
excluded = torch._dynamo.disable(lambda x: x + torch.compiler.is_compiling())
assert excluded(1) == 1 and "torch._dynamo.eval_frame" not in sys.modules
step = torch.compile(lambda x: excluded(x) * 2, backend="eager")
assert step(torch.ones(1)).item() == 2  # it would be 4 inside the compiled function
assert "torch._dynamo.eval_frame" in sys.modules
from torch._dynamo.utils import counters
assert counters["graph_break"], counters
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("model", ["cnn", "torchvision:resnet18"])
def test_a_tested_trial_imports_neither_the_compiler_nor_the_libraries_of_tables(
    tmp_path: Path, model: str
) -> None:
    train_and_name_imports(tmp_path / "first", "mlp")  # decodes the images of scikit-learn
    assert train_and_name_imports(tmp_path / "second", model) == ""


def test_what_torchvision_imports_of_the_compiler_is_the_compilers() -> None:
    script = """
import sys, torch
from fieldtrial.training.models.eager import defer_compiler
defer_compiler()
from torchvision.ops import roi_align
from torchvision.ops.roi_align import is_compile_supported
assert "torch._dynamo.eval_frame" not in sys.modules
assert roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])], 2).shape[2] == 2
said = is_compile_supported("cpu")
from torch._dynamo import utils
assert utils.__file__ and said == utils.is_compile_supported("cpu")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
