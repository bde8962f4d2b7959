"""Which support vector machine is best on the features of a pretrained ResNet-50 on STL-10, and
after which scaling?

python sweeps/stl10_svm.py [--cluster NAME]    (STL-10 is downloaded)

Report 003, question 1a: 10.1, 9.7 and 9.7 % on test for the linear ones and, by its words, much the
same for the rest: chance, so its pipeline has a defect. ROC curves and confusion matrices are in
the sweep's report. Cost: --dry-run says.
Ours: not run yet.
"""

from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
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
        search={"svm_penalty": tune.loguniform(1e-3, 1e3)},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
