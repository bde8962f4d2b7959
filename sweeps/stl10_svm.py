"""Which support vector machine is best on a pretrained ResNet-50's features of STL-10?

python sweeps/stl10_svm.py [--cluster NAME]    (STL-10 is downloaded)

Report 003, question 1a: 10.1, 9.7 and 9.7 % on test for the linear machines, and about the same for
the others. That is chance, so the report's pipeline has a defect. ROC curves and confusion matrices
are in the sweep's report. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return 3 kernels x 3 scalings of the features."""
    return Sweep(
        base=TrainConfig(
            dataset="stl10", model="resnet50", weights="imagenet", classifier="svm", epochs=1
        ),
        rows=grid(
            svm_kernel=["linear", "rbf", "cubic"], svm_scaling=["none", "standard", "min_max"]
        ),
        search={"svm_penalty": loguniform(1e-3, 1e3)},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
