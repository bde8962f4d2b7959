"""The fields of the model: architecture, initial weights and what is frozen."""

from dataclasses import dataclass

from fieldtrial.fields import freezing_schemes
from fieldtrial.fields.choices import (
    Activation,
    Classifier,
    Kernel,
    NormPlace,
    Padding,
    Scaling,
)
from fieldtrial.fields.groups.group import Group

_model = Group("model")


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFields:
    """The fields of the model: architecture, initial weights and what is frozen."""

    model: str = _model(
        "cnn",
        "cnn, mlp, a classifier of timm or torchvision (timm:NAME, torchvision:NAME), or your own,"
        " package.module:name; of task detection: darknet:yolov3, darknet:yolov3-tiny,"
        " darknet:yolov3-spp or darknet:PATH.cfg",
    )
    weights: str = _model(
        "random",
        "initial weights: random, imagenet (the library's default), imagenet:TAG (the library's of"
        " that name), run:NAME (a run in the same folder), a run directory or a file, also of"
        " darknet's weights",
    )
    freeze: str = _model("none", freezing_schemes.HELP)
    blocks: int = _model(5, "number of blocks, each of convolutions and one pooling layer", 1, 16)
    convolutions: int = _model(1, "convolutions per block", 1, 8)
    filters: tuple[int, ...] = _model(
        (32,), "filters of each block, or of the first, which filter_growth multiplies", 1
    )
    filter_growth: float = _model(1.0, "factor of the filters from block to block", 0.01)
    kernel_size: tuple[int, ...] = _model(
        (3,), "side of the kernels in each block, or in all blocks; odd", 1
    )
    padding: Padding = _model(
        "same", "same: convolutions keep the image's size; valid: they lose its border"
    )
    activation: Activation = _model("relu", "non-linearity after convolutions and dense layers")
    batch_norm: bool = _model(True, "batch normalisation")
    batch_norm_after: NormPlace = _model(
        "convolution", "place of batch normalisation: each convolution, or each block's pooling"
    )
    dense_width: tuple[int, ...] = _model(
        (256,), "widths of the dense layers before the last layer", 1
    )
    dropout: float | None = _model(
        None,
        "dropout before the last layer, or what a library calls its dropout; none: the library's"
        " default (cnn, mlp: 0)",
        0.0,
        0.95,
    )
    block_dropout: float = _model(
        0.0,
        "dropout after each block (cnn), between dense layers (mlp) or after each ReLU in a block"
        " (torchvision's ResNets)",
        0.0,
        0.95,
    )
    stochastic_depth: float | None = _model(
        None,
        "probability with which training leaves out the last residual block; it rises linearly"
        " from 0 at the first; none: the library's default",
        0.0,
        0.95,
    )
    classifier: Classifier = _model(
        "softmax",
        "softmax: the network's last layer; svm: a support vector machine, fitted on the features"
        " that the last layer gets",
    )
    svm_kernel: Kernel = _model("linear", "kernel; cubic is a polynomial of degree 3")
    svm_scaling: Scaling = _model("none", "scaling of the features, fitted on training images")
    svm_penalty: float = _model(
        1.0, "penalty on training images on the wrong side of the margin (C)", 1e-9
    )
