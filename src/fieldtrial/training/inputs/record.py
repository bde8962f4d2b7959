"""What a trial's numbers depend on beside its config and the code, as its directory keeps it."""

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import read_json
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import BY_CONTENT, BY_POSITION, Cut, Inputs
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.work.shards import in_its_sweep
from fieldtrial.fields.rules import is_mixed
from fieldtrial.own.digest import digest_of_all, digests
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import text_of
from fieldtrial.training.inputs.origin import description, origin
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource

# Of augmentation and mixing: raised when the same seed stands for other changes of the images.
DRAWS = 2
LIBRARIES = ("torch", "torchvision", "timm")
FILES: tuple[Literal["weights", "model"], ...] = ("weights", "model")  # entries on files


def inputs_of(config: TrainConfig, data: Data, network: Network) -> Inputs:
    """Return what a trial on `data` that starts from `network` depends on."""
    found = data_inputs(data)
    found["weights"], found["model"] = origin(config, network), description(network)
    found["versions"] = versions()
    if config.augmentation or is_mixed(config):
        found["draws"] = DRAWS
    if own := digests(config.own_parts):
        found["own"] = own
    return found


def data_inputs(data: Data) -> Inputs:
    """Return the entries of `inputs_of` on the data."""
    return Inputs(
        cut=data.cut,
        data=data.digest,
        parts=parts_digest(data),
        classes=data.class_counts(),
        store=data.store,
        remarks=list(data.remarks),
        recipe=text_of(data.recipe, data.image_size),
    )


def parts_digest(data: Data) -> str:
    """Return 16 hexadecimal digits of which images train, select and test."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (data.train, data.validation, data.test):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part, np.int64).data)
    return digest.hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of LIBRARIES, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def known_inputs(run: Run) -> Inputs | None:
    """Return what the run has recorded, or None: it has not begun, or an earlier version did."""
    found: Inputs | None = read_json(run.inputs_path, Inputs)
    return found


def result_entries(inputs: Inputs) -> dict[str, Any]:
    """Return what a result, and so a table, says of what the run depends on."""
    files = {name: inputs.get(name) for name in FILES}
    return {
        "data_digest": inputs["data"],
        **{f"{name}_digest": file["sha256"] for name, file in files.items() if file},
        **({"own_digest": digest_of_all(own)} if (own := inputs.get("own")) else {}),
        "libraries": ", ".join(
            f"{name} {short(full)}" for name, full in inputs.get("versions", {}).items()
        ),
    }


def short(full: str) -> str:
    """Return the first two numbers of a version."""
    return ".".join(full.split(".")[:2])


def sweep_of(run: Run, config: TrainConfig) -> SweepFolder | None:
    """Return the folder of the sweep that the run is a trial of, or None."""
    if run.name != config.id:
        return None
    folder = SweepFolder(in_its_sweep(run.path).root)
    return None if folder.cut() is None else folder


def cut_of(run: Run, config: TrainConfig) -> Cut:
    """Return how the run's data are cut: as it began, or else as its sweep did.

    A run that starts from another one on the same data set is cut as that one: what has trained its
    weights is not what it is tested on.
    """
    if known := known_inputs(run):
        return known["cut"]
    if run.checkpoints() or run.result() is not None:
        return BY_POSITION  # an earlier version began it
    source = ModelSource.of(config, run.path).run
    if source is not None and source.config().dataset == config.dataset:
        return cut_of(source, source.config())
    sweep = sweep_of(run, config)
    return (sweep.cut() if sweep else None) or BY_CONTENT


def require_same_fold(config: TrainConfig, source: Run | None) -> None:
    """Raise ConfigError if the run that weights come from has trained on what is to be tested.

    That is so where it was cut out of the same data set by other folds, or tests another one.
    """
    own = config.folds, config.fold
    known = source.config() if source else config
    if known.dataset != config.dataset or (theirs := (known.folds, known.fold)) == own:
        return
    then, now = (
        f"fold {fold} of {folds}" if folds else "the test images without folds"
        for folds, fold in (theirs, own)
    )
    raise ConfigError(
        [
            f"weights = {config.weights!r}: that run was tested on {then}, and has trained on"
            f" images of {now}, which this one is tested on; start from a run with the same folds"
            " and fold"
        ]
    )
