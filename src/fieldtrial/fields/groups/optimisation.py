"""The fields of the training: optimiser, schedule, loss and budget."""

from dataclasses import dataclass

from fieldtrial.fields.choices import (
    ClassWeights,
    Loss,
    Optimizer,
    Sampling,
    Schedule,
    Select,
)
from fieldtrial.fields.groups.group import Group
from fieldtrial.fields.values import Own

_optimisation = Group("optimisation")


@dataclass(frozen=True, kw_only=True, eq=False)
class OptimisationFields:
    """The fields of the training: optimiser, schedule, loss and budget."""

    optimizer: Optimizer | Own = _optimisation("adamw", "update rule")
    lr: float = _optimisation(1e-3, "peak learning rate, above 0", 0.0)
    layer_decay: float = _optimisation(
        1.0,
        "factor of the learning rate from each unit of the depth axis to the one below",
        0.01,
        1.0,
    )
    momentum: float = _optimisation(0.9, "momentum coefficient", 0.0, 0.9999)
    nesterov: bool = _optimisation(False, "Nesterov's form of momentum")
    betas: tuple[float, float] = _optimisation(
        (0.9, 0.999), "decay of the means of the gradient and of its square", 0.0, 0.99999
    )
    epsilon: float = _optimisation(1e-8, "added to the denominator of the update", 0.0)
    weight_decay: float = _optimisation(
        0.0, "decoupled for adamw, an L2 penalty for other optimizers", 0.0
    )
    decay_all: bool = _optimisation(
        True, "false: no weight decay on biases and on the parameters of normalisation layers"
    )
    schedule: Schedule | Own = _optimisation("constant", "learning rate after the warm-up")
    warmup_fraction: float = _optimisation(
        0.0, "share of all steps with a rising learning rate; one_cycle: 0 means 0.3", 0.0, 1.0
    )
    step_epochs: int = _optimisation(7, "epochs between two falls of the learning rate", 1)
    gamma: float = _optimisation(0.1, "factor of the learning rate at each fall", 1e-6, 1.0)
    plateau_patience: int = _optimisation(
        3, "epochs without a better `select` before the learning rate falls", 1
    )
    loss: Loss | Own = _optimisation(
        "cross_entropy", "center and triplet add a loss of the features to cross-entropy"
    )
    loss_weight: float | None = _optimisation(
        None, "weight of the added loss; none: 0.003 for center, 0.1 for triplet", 0.0
    )
    center_lr: float = _optimisation(
        0.5, "rate at which a class's center follows its images", 0.0, 1.0
    )
    margin: float = _optimisation(0.3, "how much nearer an image's own class must be", 0.0)
    label_smoothing: float = _optimisation(
        0.0, "share of each label spread over all classes", 0.0, 0.99
    )
    class_weights: ClassWeights = _optimisation(
        "none",
        "balanced: in the loss that is minimised, a class counts by images / (classes × images of"
        " the class)",
    )
    gradient_clip: float | None = _optimisation(
        None, "largest gradient norm; none: no clipping", 1e-9
    )
    batch_size: int = _optimisation(64, "images per step, over all processes together", 1)
    shuffle: bool = _optimisation(
        True, "new image order each epoch; false: the stored order, in folders class by class"
    )
    sampling: Sampling = _optimisation(
        "all",
        "all: each training image once an epoch; balanced: as many, drawn with replacement, each"
        " class with equal probability",
    )
    ema_decay: float = _optimisation(
        0.0,
        "decay of the moving average of the weights over the steps, which is validated and kept; 0:"
        " the weights themselves are",
        0.0,
        0.999999,
    )
    epochs: int = _optimisation(10, "passes over the training images", 1)
    select: Select = _optimisation(
        "validation_accuracy",
        "metric that chooses the best epoch, and that patience watches; for task = multilabel and"
        " detection the default is validation_map, for regression validation_mae; last: the last"
        " epoch is kept, and patience watches validation_loss",
    )
    metrics: tuple[Own, ...] = _optimisation(
        (), "metrics of your own, package.module:name, beside the task's; they choose nothing"
    )
    patience: int | None = _optimisation(
        None, "epochs without a better `select` before training stops; none: never", 1
    )
