"""The choices of fields that have some."""

from typing import Literal

TaskName = Literal["classification", "multilabel", "regression", "detection"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam"]
Schedule = Literal["constant", "cosine", "linear", "step", "one_cycle", "plateau"]
Loss = Literal["cross_entropy", "center", "triplet"]
ClassWeights = Literal["none", "balanced"]
Sampling = Literal["all", "balanced"]
Activation = Literal["relu", "leaky_relu", "tanh", "gelu", "silu", "mish"]
Augmentation = Literal[
    "horizontal_flip", "vertical_flip", "crop", "random_resized_crop", "rotation", "affine",
    "color_jitter",
    "sharpness", "grayscale", "randaugment",
]  # fmt: skip
Preprocessing = Literal["recipe", "square"]
Padding = Literal["same", "valid"]
NormPlace = Literal["convolution", "pool"]
Classifier = Literal["softmax", "svm"]
Kernel = Literal["linear", "rbf", "cubic"]
Scaling = Literal["none", "standard", "min_max"]
Precision = Literal["fp32", "bf16"]
Compile = Literal["auto", "on", "off"]
SearcherName = Literal["gp", "tpe"]
Strategy = Literal["ddp", "zero1", "zero2", "zero3"]
Criterion = Literal[
    "validation_accuracy", "validation_loss", "validation_map", "validation_map50",
    "validation_macro_f1", "validation_micro_f1",
    "validation_mae", "validation_rmse", "validation_r2",
]  # fmt: skip
Select = Literal[
    "validation_accuracy", "validation_loss", "validation_map", "validation_map50",
    "validation_macro_f1", "validation_micro_f1",
    "validation_mae", "validation_rmse", "validation_r2",
    "last",
]  # fmt: skip
