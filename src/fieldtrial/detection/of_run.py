"""The network of a finished run that was trained to detect."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from fieldtrial.config import ConfigError
from fieldtrial.detection.darknet.architectures import ARCHITECTURES
from fieldtrial.detection.darknet.network import Darknet, with_classes
from fieldtrial.detection.darknet.sections import Section, find_description, read_sections
from fieldtrial.disk.files import read_json
from fieldtrial.disk.reading import sha256
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Inputs

PREFIX = "darknet:"  # of the field `model`
TENSORS = "model.darknet."  # prefix of the network's tensors among those of a run
SIZE = "recipe"  # the entry of result.json that says how large images were


def network_of_run(folder: Path, config: str | None = None) -> tuple[Darknet, tuple[str, ...]]:
    """Return the network with the weights that the run kept, and the names of its classes.

    No code of the run is run. The network's `image_size` is that of the images it was trained on.

    Args:
        folder: the run's directory.
        config: the file that describes the network, if it is not where the run's own config says.

    Raises:
        ConfigError: it is no run of detection that has ended well, or the file that describes its
            network is gone, or another one than when the run began.
    """
    run, asked = Run(folder), f"weights = {str(folder)!r}"
    try:
        model, result = run.config().model, run.result()
    except OSError as error:
        raise ConfigError([f"{asked}: {error}"]) from None
    if not model.startswith(PREFIX):
        raise ConfigError([f"{asked}: a run of {model}, which is no detector"])
    names = (result or {}).get("class_names")
    if not names or not run.weights_path.exists():
        raise ConfigError([f"{asked}: the run has not ended well, and keeps no weights"])
    network = Darknet(_sections(run, config or model.removeprefix(PREFIX), len(names)))
    _load(network, _tensors(run, asked), asked)
    if side := _side(result or {}):
        network.image_size = (side, side)
    return network, tuple(names)


def _sections(run: Run, name: str, count: int) -> tuple[Section, ...]:
    """Return the network's sections, for `count` classes."""
    if made := ARCHITECTURES.get(name):
        return made(count)
    asked = f"weights = {str(run.path)!r}"
    try:
        file = find_description(name)
    except ValueError as error:
        raise ConfigError([f"{asked}: {error}; give its network's file as --config"]) from None
    known: Inputs | None = read_json(run.inputs_path, Inputs)
    began = known and known.get("model")
    if began and began["sha256"] != (now := sha256(file)):
        was = f"{began['file']} with the SHA-256 {began['sha256'][:12]}…"
        raise ConfigError(
            [
                f"{asked}: its network was described by {was}, and {file} has {now[:12]}…; give"
                " the file that it was trained with as --config"
            ]
        )
    return with_classes(read_sections(file), count)


def _tensors(run: Run, asked: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(run.weights_path)
    except Exception as error:  # nearly everything is raised where a file is damaged
        raise ConfigError([f"{asked}: its weights cannot be read: {error}"]) from None
    return {
        name.removeprefix(TENSORS): tensor
        for name, tensor in state.items()
        if name.startswith(TENSORS)
    }


def _load(network: Darknet, state: dict[str, Tensor], asked: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError([f"{asked}: its weights are not of its network: {reason}"]) from None


def _side(result: dict[str, Any]) -> int | None:
    """Return the side of the square images that a run was trained on, from its recipe's text."""
    words = [word for word in str(result.get(SIZE)).split() if word.isdecimal()]
    return int(words[-1]) if words else None
