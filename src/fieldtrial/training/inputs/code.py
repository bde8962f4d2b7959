"""Changed code of own parts: which trials take it as theirs, as nothing came of the old one.

A sweep's trials share their code, and what has ended with the old one is not to be compared with
what begins now. While nothing has ended, such as where a mistake in the code has made all trials
fail, there is nothing to be compared.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Inputs, SweepInputs
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.own.digest import digests
from fieldtrial.training.distributed.world import World
from fieldtrial.training.inputs.record import known_inputs, sweep_of

ADVICE = {
    "run": "bring back what it began with, or start a new run in another directory",
    "sweep": "bring back what it began with, or start another sweep with --name",
}
CHANGED = {
    "run": "it has changed since the run began: ",
    "sweep": "it has changed since the sweep began: ",
}
Digests = Mapping[str, str]


@dataclass(frozen=True)
class NewCode:
    """The code that a trial takes in the place of what was recorded.

    of_sweep: the parts that are other ones than the sweep recorded, with their digests now. of_run:
    whether the run begins from nothing with it.
    """

    of_sweep: Digests
    of_run: bool


def key_of(kind: str, text: str) -> str:
    """Return the key of what a sweep's trials share: of its kind, `text` names it."""
    return f"{kind}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def code_changed(name: str, what: str) -> str:
    """Return the problem that an own part has other code than the run, or sweep, began with."""
    return f"{name}: {CHANGED[what]}its code, or what it imports; {ADVICE[what]}"


def new_code(run: Run, config: TrainConfig) -> NewCode:
    """Return which changed code the trial in the place of `run` takes. Nothing is written.

    A sweep takes it while no run of it has a result of the old code. A run in it then begins from
    nothing, and so does any run that has no checkpoint yet.
    """
    now, sweep = digests(config.own_parts), sweep_of(run, config)
    if not now or _has_result(run):
        return NewCode({}, False)
    taken = dict[str, str]()
    for name, shared in _of_sweep(sweep, now).items():
        if shared != now[name]:
            if sweep and _has_result_of(sweep, name, shared):
                return NewCode({}, False)
            taken[name] = now[name]
    before = _recorded(run)
    of_run = any(before.get(name, digest) != digest for name, digest in now.items())
    return NewCode(taken, of_run and (sweep is not None or not run.checkpoints()))


def take_new_code(run: Run, config: TrainConfig, attempt: int, world: World) -> None:
    """Record the code that the trial takes, see `new_code`, before `attempt` begins.

    All processes call it. A run that begins from nothing loses what earlier attempts have done.
    """
    if not config.own_parts:
        return
    if world.is_rank_0:
        found, sweep, now = new_code(run, config), sweep_of(run, config), digests(config.own_parts)
        if sweep:
            for name, digest in found.of_sweep.items():
                sweep.replace_inputs(key_of("own", name), SweepInputs(own={name: digest}))
        if found.of_run and (known := known_inputs(run)):
            run.begin_again(attempt)
            write_json(run.inputs_path, Inputs(**{**known, "own": now}))
    world.broadcast(None)  # the others read what rank 0 has left


def require_code_of_sweep(run: Run, config: TrainConfig) -> None:
    """Raise ConfigError if the sweep has taken other code since the trial began.

    Its result would be the only one of the old code.
    """
    if not config.own_parts:
        return
    begun = _recorded(run)
    shared = _of_sweep(sweep_of(run, config), begun)
    if changed := [name for name, digest in shared.items() if digest != begun[name]]:
        raise ConfigError([code_changed(name, "sweep") for name in changed])


def _of_sweep(sweep: SweepFolder | None, names: Digests) -> dict[str, str]:
    """Return what the sweep recorded of these parts' code, of those that it has any of."""
    found = {name: sweep.inputs(key_of("own", name)) for name in names} if sweep else {}
    return {
        name: inputs["own"][name] for name, inputs in found.items() if inputs and "own" in inputs
    }


def _recorded(run: Run) -> Digests:
    known = known_inputs(run)
    return known.get("own", {}) if known else {}


def _has_result_of(sweep: SweepFolder, name: str, digest: str) -> bool:
    """Return whether a run of the sweep has a result of this code of a part."""
    for folder in sweep.folders():
        with contextlib.suppress(OSError, ValueError):  # no run, or a damaged one
            run = sweep.run(folder)
            if _recorded(run).get(name) == digest and _has_result(run):
                return True
    return False


def _has_result(run: Run) -> bool:
    """Return whether a run has a result. A damaged one is none: the trial runs again."""
    with contextlib.suppress(OSError, ValueError):
        return run.result() is not None
    return False
