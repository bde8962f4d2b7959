"""Where a trial's model and initial weights come from, and the network that is built of them."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.detection.settings import DetectorSettings, require_weights
from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.run import Run
from fieldtrial.disk.work.shards import beside
from fieldtrial.fields.rules import RUN_PREFIX, is_library
from fieldtrial.own.find import meant
from fieldtrial.own.names import is_own
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.data.recipe import Recipe, recorded
from fieldtrial.training.models.eager import defer_compiler
from fieldtrial.training.models.libraries import Library, Pretraining, Torchvision
from fieldtrial.training.models.library.heads import head_entries
from fieldtrial.training.models.library.of_darknet import WEIGHTS, DarknetModels
from fieldtrial.training.models.library.of_functions import Functions
from fieldtrial.training.models.library.of_timm import Timm
from fieldtrial.training.models.library.origins import Origin
from fieldtrial.training.models.network import Network, count_flops, per_channel
from fieldtrial.training.models.weights import is_network, load_state, read_state_once
from fieldtrial.training.parts.part import identity_of

FUNCTIONS = "fieldtrial"
LIBRARIES: dict[str, Library] = {
    FUNCTIONS: Functions(),
    "torchvision": Torchvision(),
    "timm": Timm(),
}
# Detectors are only looked for where a name says so: darknet:yolov3.
DARKNET = DarknetModels()
DETECTORS: dict[str, Library] = {"darknet": DARKNET}
EVERY = LIBRARIES | DETECTORS


@dataclass(frozen=True)
class ModelSource:
    """Where the model of a config and its initial weights come from.

    Weights are looked up when they are first asked for, and once. Evaluation of a run that has its
    own weights never asks for those that it started from.

    Attributes:
        config: the trial's config.
        run_folder: the trial's directory, beside which weights run:NAME lie; or None.
        library: the library that has the model.
        name: the model's name there.
    """

    config: TrainConfig
    run_folder: Path | None
    library: Library
    name: str

    @classmethod
    def of(cls, config: TrainConfig, run_folder: Path | None = None) -> "ModelSource":
        """Return the source of `config`. Raises ValueError if no library has model and weights."""
        library, name = resolve(config.model)
        if is_library(config.weights) and (tag := config.weights.partition(":")[2]):
            name = EVERY[library].tagged(name, tag)
        return cls(config, run_folder, EVERY[library], name)

    def drawn(self) -> "ModelSource":
        """Return the same model with randomly drawn weights."""
        return replace(self, config=replace(self.config, weights="random"))

    @cached_property
    def run(self) -> Run | None:
        """The run that the weights come from, or None where they come from elsewhere.

        `run:NAME` is the directory beside `run_folder`; a directory is taken as it stands.

        Raises:
            ValueError: there is no such run, or it is the trial's own.
        """
        weights, folder = self.config.weights, self.run_folder
        if weights == "random" or is_library(weights):
            return None
        path, other = Path(weights).expanduser(), None
        if weights.startswith(RUN_PREFIX):
            if folder is None:
                raise ValueError(
                    f"weights = {weights!r}: stands for a run beside this one, and this one has"
                    " no folder"
                )
            other = beside(folder.resolve(), weights.removeprefix(RUN_PREFIX))
            path = other.path
        elif not path.is_dir():
            return None
        if folder is not None and path.resolve() == folder.resolve():
            raise ValueError(f"weights = {weights!r}: is this run itself")
        run = Run(other or path)
        try:
            run.config()
        except (FileNotFoundError, RefusedError) as error:
            raise ValueError(f"weights = {weights!r}: {error}") from None
        return run

    @cached_property
    def file(self) -> Path | None:
        """The file with the weights, or None where they are drawn or the library's.

        Raises:
            ValueError: there is no such file or run, or the run has not ended well.
        """
        weights = self.config.weights
        if weights == "random" or is_library(weights):
            return None
        if self.library is DARKNET and not self.run:
            return require_weights(DetectorSettings(weights=weights, config=self.name))
        try:
            path = Path(self.run.weights_path if self.run else weights).expanduser()
        except RefusedError as error:
            raise ValueError(f"weights = {weights!r}: {error}") from None
        if not path.is_file():
            reason = "write random, imagenet, run:NAME or such a path"
            raise ValueError(
                f"weights = {weights!r}: no file or run directory at {path};"
                f" {'the run has not ended well' if self.run else reason}"
            )
        return path

    @cached_property
    def state(self) -> Mapping[str, Tensor] | None:
        """The tensors in `file`, not to be changed, or None; None for a file of darknet's.

        There, layers name the tensors.

        Raises:
            ValueError: as `read_state`.
        """
        return read_state_once(self.file) if self.file and not self.is_darknets else None

    @cached_property
    def is_darknets(self) -> bool:
        """Whether the weights are in a file of darknet's."""
        return self.library is DARKNET and self.file is not None and self.file.suffix == WEIGHTS

    @cached_property
    def pretraining(self) -> Pretraining | None:
        """What a library's weights, its own or bare ones in a file, expect of images; or None."""
        is_bare = self.state is not None and not is_network(self.state)
        own = is_library(self.config.weights)
        return self.library.pretraining(self.name) if own or is_bare else None

    @cached_property
    def image_size(self) -> int | None:
        """The side in pixels of the images to load, or None for the data set's own.

        It is config.image_size, else that of the run that the weights come from, else that of the
        library's weights.

        Raises:
            ValueError: no such run or file.
        """
        if self.config.image_size is not None:
            return self.config.image_size
        if self.run:
            known = recorded(self.run)
            if known and known[0]:
                return known[1]
            return ModelSource.of(self.run.config(), self.run.path).image_size
        return self.pretraining.image_size if self.pretraining else None

    @cached_property
    def recipe(self) -> Recipe | None:
        """How images become squares of `image_size`; None: by the largest centre square.

        It is that of the library's weights, or of the run that the weights come from.

        Raises:
            ValueError: no such run or file.
        """
        if self.config.preprocessing == "square" or self.image_size is None:
            return None
        if self.run:
            known = recorded(self.run)  # what that run started from may be gone
            there = self.run.config(), self.run.path
            recipe = known[0] if known else ModelSource.of(*there).recipe
        else:
            recipe = self.pretraining.recipe if self.pretraining else None
        # Letterboxes are the task's own.
        return recipe.scaled(self.image_size) if isinstance(recipe, Recipe) else None

    @cached_property
    def origin(self) -> dict[str, str]:
        """Where the initial weights are from, as entries of result.json; empty if drawn.

        Those of a run are from where the run's were.
        """
        weights = self.config.weights
        if is_library(weights):
            return self.library.origin(self.name).entries()
        if self.run:
            known = self.run.result() or {}
            return {name: str(known[name]) for name in Origin("").entries() if name in known}
        return {} if weights == "random" else Origin(f"file {Path(weights).name}").entries()


def model_file(config: TrainConfig) -> Path | None:
    """Return the file that describes the model of `config`; None where a library has the model.

    Raises:
        ValueError: there is no such model or file.
    """
    library, name = resolve(config.model)
    return DARKNET.file(name) if EVERY[library] is DARKNET else None


def resolve(model: str) -> tuple[str, str]:
    """Return the library that `model` stands for, a key of EVERY, and the model's name there.

    `timm:NAME`, `torchvision:NAME` and `darknet:NAME` say the library, and `package.module:NAME` a
    function of the user's. A bare name is a model of this package, else torchvision's, else
    timm's.

    Raises:
        ValueError: no library has such a model; the message has the closest names.
    """
    if is_own(model):
        return FUNCTIONS, model
    prefix, _, name = model.partition(":") if ":" in model else ("", "", model)
    searched = [prefix] if prefix else list(LIBRARIES)
    for library in searched:
        if EVERY[library].has(name):
            return library, name
    known = dict.fromkeys(known for library in searched for known in EVERY[library].names())
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    raise ValueError(
        f"model = {model!r}: no such model in {', '.join(searched)}"
        + (f"; close: {', '.join(close)}" if close else "")
        + f"; {FUNCTIONS} has {', '.join(LIBRARIES[FUNCTIONS].names())}; write timm:NAME or"
        " torchvision:NAME to choose the library, or package.module:NAME for a model of yours"
        + meant(model)
    )


def build(
    source: ModelSource, shape: DataShape, mean: tuple[float, ...], std: tuple[float, ...]
) -> Network:
    """Return the network of `source` on the CPU, with a freshly drawn last layer.

    Equal config, data and files give equal weights, bit for bit. Drawn weights come from
    config.seed alone; the global random state stays as it was.

    Args:
        source: the model and its initial weights.
        shape: of the data.
        mean: per channel in [0, 1], of the data. Weights that were trained on another normalisation
            bring their own.
        std: as `mean`.

    Raises:
        ValueError: weights that are not there or do not fit, an image size or a number of channels
            that the model cannot take.
    """
    defer_compiler()
    config, size = source.config, shape.image_size
    channels = source.library.channels(shape.channels)
    if shape.channels not in (1, channels):
        raise ValueError(
            f"model = {config.model!r}: takes images of 1 or {channels} channels, the data's have"
            f" {shape.channels}"
        )
    mean, std = (
        values * channels if len(values) == 1 else values for values in (mean, std)
    )  # of grey images, for each channel
    heads: dict[str, str] = {}
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the GPUs too
        torch.default_generator.manual_seed(config.seed)
        try:
            model, head = source.library.create(
                source.name, config, replace(shape, channels=channels)
            )
            network = Network(model, head, size, mean, std, config.precision)
            if is_own(config.model):
                network.own, network.code = config.model, identity_of("model", config)
            _check_patches(model, size)
            network.flops = count_flops(network, size, shape.channels)
        except (RuntimeError, AssertionError) as error:
            pretraining = source.library.pretraining(source.name)
            made_for = f"; it was made for {pretraining.image_size}" if pretraining else ""
            reason = str(error).strip().split("\n")[0]
            raise ValueError(
                f"image_size = {size}: {config.model} cannot take it ({reason}){made_for}"
            ) from None
        if is_library(config.weights):
            state, network.weights_file = source.library.imagenet(source.name, size)
            load_state(network, state, network.weights_file)
        elif source.is_darknets and source.file:
            heads, network.weights_file = DARKNET.load(model, source.file).entries(), source.file
        elif source.state and source.file:
            load_state(network, source.state, source.file)
            network.weights_file = source.file
    network.model_file = model_file(config)
    network.origin = source.origin | heads | head_entries(network)
    if source.pretraining:
        network.mean.copy_(per_channel(source.pretraining.mean))
        network.std.copy_(per_channel(source.pretraining.std))
    return network


def _check_patches(model: nn.Module, image_size: int) -> None:
    """Raise RuntimeError where patches do not fill the image: timm would silently crop it."""
    size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    patch = size[0] if isinstance(size, tuple) else size
    if isinstance(patch, int) and image_size % patch:
        raise RuntimeError(f"the size must be a multiple of its {patch}-pixel patches")
