"""Which trials may train together: linear heads on the same features, as one batched product."""

from dataclasses import replace
from typing import Any

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.fields.rules import keeps_images
from fieldtrial.fields.task_metrics import WITH_CLASSES

# Those of UPDATES in training/heads/updates.py, which this half cannot import.
OPTIMIZERS: tuple[str, ...] = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam")
# Heads of one group may differ in these fields.
FREE = (
    "lr", "momentum", "nesterov", "betas", "epsilon", "weight_decay", "decay_all",
    "schedule", "warmup_fraction", "step_epochs", "gamma", "plateau_patience",
    "label_smoothing", "gradient_clip", "shuffle", "select", "patience",
)  # fmt: skip


def group_of(config: TrainConfig) -> str:
    """Return a word that is equal for trials that may train together; "" for one that trains alone.

    Only heads on fixed features can: all else is frozen, images are seen as they are, each once an
    epoch, and cross-entropy alone, in which classes count alike, is minimised in fp32. The weights
    are not averaged, and no part is a user's own. They have one optimiser, of OPTIMIZERS, and equal
    batches and epochs. Their seeds may differ where these draw nothing of the frozen layers.
    Whether the head is one linear layer is found out when the network is built; if not, the trials
    train one after another.
    """
    is_fixed = (
        config.task in WITH_CLASSES
        and config.classifier == "softmax"
        and config.freeze == "all_but_head"
        and keeps_images(config)
        and config.sampling == "all"
        and config.class_weights == "none"
        and not config.ema_decay
        and config.loss == "cross_entropy"
        and config.optimizer in OPTIMIZERS
        and config.precision == "fp32"
        and not config.dropout
        and not config.block_dropout
        and not config.own_parts
    )
    if not is_fixed:
        return ""
    free = FREE if config.weights == "random" else (*FREE, "seed")
    defaults: dict[str, Any] = {name: FIELDS[name].default for name in free}
    return replace(config, **defaults).id
