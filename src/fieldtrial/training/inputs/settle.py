"""Whether a trial depends on what it began with, and on what its sweep's other trials do."""

from collections.abc import Mapping
from typing import Any

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Inputs, SweepInputs
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.rules import RUN_PREFIX
from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.inputs.changes import count_changes, data_changes
from fieldtrial.training.inputs.code import ADVICE, CHANGED, code_changed, key_of, new_code
from fieldtrial.training.inputs.record import FILES, inputs_of, known_inputs, short, sweep_of
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import model_file

SEPARATOR = "\0"  # after the kind of what a sweep's trials share, where there may be several
State = Mapping[str, Any]


def settle(
    run: Run,
    config: TrainConfig,
    parts: tuple[Data, Network],
    world: World,
    saved: State | None = None,
) -> tuple[Inputs, str | None]:
    """Return what the trial depends on, to all processes; write it into its directory at its start.

    The second result is a notice on other versions of libraries or draws, or None.

    Args:
        run: the trial's directory.
        config: the trial's.
        parts: its data, and its network with the initial weights.
        world: rank 0 compares and writes.
        saved: the checkpoint to continue from.

    Raises:
        ConfigError: data or weights are not those that the run, or the first trial of its sweep on
            them, began with; the message says what differs.
    """
    answer = _settle(run, config, parts, saved) if world.is_rank_0 else []
    problems, inputs, notice = world.broadcast(answer)
    if problems:
        raise ConfigError(problems)
    return inputs, notice


def _settle(
    run: Run, config: TrainConfig, parts: tuple[Data, Network], saved: State | None
) -> list[Any]:
    """Return the problems, what the trial depends on, and the notice, as a list of plain data."""
    now = inputs_of(config, *parts)
    known = (saved or {}).get("inputs") or known_inputs(run)
    problems = differences(known, now, config) if known else []
    if saved and not known:
        problems = size_problems(saved["facts"], parts[0], config)
    sweep = sweep_of(run, config)
    if sweep and not problems:
        for key, own in _shared(config, now).items():
            problems += _against_sweep(sweep.settle_inputs(key, own), now, config)
    if not problems and known_inputs(run) is None:
        write_json(run.inputs_path, now)
    return [problems, now, _version_notice(known, now) if known else None]


def standing_problems(run: Run, config: TrainConfig, data: Data, network: Network) -> list[str]:
    """Return what `settle` would refuse for a trial in the place of `run`. Nothing is written."""
    known, sweep = known_inputs(run), sweep_of(run, config)
    if known is None and (sweep is None or not _has_inputs(sweep, config)):
        return []  # nothing to compare with: files of weights need not be read
    now, code = inputs_of(config, data, network), new_code(run, config)
    if known and code.of_run:
        known["own"] = {}
    problems = differences(known, now, config) if known else []
    if sweep and not problems:
        for key in _keys(config).values():
            shared = sweep.inputs(key)
            if shared and not code.of_sweep.keys() & shared.get("own", {}).keys():
                problems += _against_sweep(shared, now, config)
    return problems


def differences(known: State, now: State, config: TrainConfig, what: str = "run") -> list[str]:
    """Return a line for each difference between what a run or sweep began with and what is now."""
    problems, dataset = [], f"dataset = {config.dataset!r}"
    if known.get("data", now["data"]) != now["data"]:
        how = data_changes(known, now)
        problems.append(f"{dataset}: {CHANGED[what]}{how}; {ADVICE[what]}")
    elif known.get("parts", now["parts"]) != now["parts"]:
        problems.append(
            f"{dataset}: the same images are cut into other parts than when the run began;"
            f" {ADVICE[what]}"
        )
    for name in FILES:
        problems += file_problems(name, known, now.get(name), config, what)
    before: State = known.get("own", {})
    for name, digest in now.get("own", {}).items():
        if before.get(name, digest) != digest:
            problems.append(code_changed(name, what))
    return problems


def file_problems(
    name: str, known: State, now: State | None, config: TrainConfig, what: str = "run"
) -> list[str]:
    """Return how the file `now` differs from that of the entry `name`, in a line or none."""
    before: State | None = known.get(name)
    if name not in known or (before or {}).get("sha256") == (now or {}).get("sha256"):
        return []
    was, is_now = (
        f"{one['file']} with the SHA-256 {one['sha256'][:12]}…" if one else "none"
        for one in (before, now)
    )
    return [
        f"{name} = {getattr(config, name)!r}: the {what} began with {was}, and now there is"
        f" {is_now}; {ADVICE[what]}"
    ]


def size_problems(known: State, data: Data, config: TrainConfig) -> list[str]:
    """Return how the sizes of the parts differ from those of a run that recorded nothing else."""
    sizes = {
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "test_images": len(data.test),
    }
    how = count_changes(known, sizes)
    text = f"dataset = {config.dataset!r}: {CHANGED['run']}{how}"
    return [f"{text}; {ADVICE['run']}"] if how else []


def _against_sweep(shared: SweepInputs, now: Inputs, config: TrainConfig) -> list[str]:
    """Return how a trial differs from its sweep's; which parts it has is its own affair."""
    return differences(dict(shared), now, config, "sweep")


def _keys(config: TrainConfig) -> dict[str, str]:
    """Return what stands for the data set and, where they are files, for weights and model."""
    texts = {"data": config.dataset}
    # A source is trained in the sweep itself, and may have to be trained again.
    if config.weights != "random" and not config.weights.startswith(RUN_PREFIX):
        texts["weights"] = f"{config.model}\0{config.weights}"
    if model_file(config):
        texts["model"] = config.model
    texts |= {
        f"own{SEPARATOR}{name}": name for names in config.own_parts.values() for name in names
    }
    return {kind: key_of(kind.partition(SEPARATOR)[0], text) for kind, text in texts.items()}


def _shared(config: TrainConfig, now: Inputs) -> dict[str, SweepInputs]:
    """Return, by their keys, what all trials of a sweep with this data set and files share."""
    keys = _keys(config)
    shared = {
        keys["data"]: SweepInputs(data=now["data"], classes=now["classes"], store=now["store"])
    }
    if "weights" in keys and now["weights"]:
        shared[keys["weights"]] = SweepInputs(weights=now["weights"])
    if "model" in keys and now["model"]:
        shared[keys["model"]] = SweepInputs(model=now["model"])
    for name, digest in now.get("own", {}).items():
        shared[keys[f"own{SEPARATOR}{name}"]] = SweepInputs(own={name: digest})
    return shared


def _has_inputs(sweep: SweepFolder, config: TrainConfig) -> bool:
    return any(sweep.inputs(key) is not None for key in _keys(config).values())


def _version_notice(known: Inputs, now: Inputs) -> str | None:
    """Return what has other versions than when the run began, libraries or draws, or None."""
    pairs = [
        (name, short(known.get("versions", {}).get(name, full)), short(full))
        for name, full in now["versions"].items()
    ]
    changed = [f"{name} {was}, now {is_now}" for name, was, is_now in pairs if was != is_now]
    was, is_now = known.get("draws", 1), now.get("draws", 1)
    if "draws" in now and was != is_now:
        changed.append(f"version {was} of the random numbers of augmentation, now {is_now}")
    return f"the run began with {'; '.join(changed)}" if changed else None
