"""Runs that are set side by side depend on the same data and weights, or are kept apart."""

import contextlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fieldtrial.disk.files import read_json
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Inputs
from fieldtrial.fields.printable import counted

# Entries of a result that are equal where it depends on the same, and what that is. Runs of earlier
# versions have no digests.
SIGNS = {
    "data_digest": "data",
    "test_images": "data",
    "weights_digest": "initial weights",
    "model_digest": "descriptions of the network",
    "own_digest": "code of own parts",
}
# Those of SIGNS that tell two runs of a trial apart.
STATE = ("data_digest", "weights_digest", "model_digest", "own_digest")


def each_once(same: Sequence[Hashable], runs: pd.DataFrame, ended: Sequence[bool]) -> list[int]:
    """Return the places of those of the runs that are no copies, in their order.

    same: what copies have in common. Runs of two known states of the data or the weights are no
    copies; where a run does not know its state, what both know is compared. Of copies, the one
    counts that has ended, then the one that knows more, then the first.
    """
    columns = [runs[name] if name in runs else [None] * len(runs) for name in STATE]
    states = list(zip(*columns, strict=True))
    known = [sum(isinstance(one, str) for one in state) for state in states]
    kept: dict[Hashable, list[int]] = {}
    for place in sorted(range(len(states)), key=lambda one: (not ended[one], -known[one])):
        others = kept.setdefault(same[place], [])
        if not any(_may_be_one(states[place], states[other]) for other in others):
            others.append(place)
    return sorted(place for places in kept.values() for place in places)


def _may_be_one(state: Sequence[object], other: Sequence[object]) -> bool:
    pairs = zip(state, other, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, str) and isinstance(b, str))


def again_lines(trials: pd.DataFrame, same: Sequence[str]) -> list[str]:
    """Return a line on trials that are there for several states; same: what copies share."""
    count = int(trials.duplicated([*same]).sum())
    line = (
        f"{counted(count)} ran again on other data, initial weights, descriptions of the network or"
        " code of own parts: a row has the final runs of one state. `--rows sweep` shows those of"
        " each sweep."
    )
    return [line] if count else []


def of_one_state(
    runs: pd.DataFrame, winner: Mapping[str, Any] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return those of a winner's runs that depend on the winner's data and weights, and lines.

    Where the winner's are unknown, those of the most runs count. The lines say how many are left
    out, and whether libraries of other versions made some of the others.
    """
    lines = []
    for name, what in SIGNS.items():
        if name not in runs or runs[name].dropna().nunique() < 2:
            continue
        if name == "test_images" and "folds" in runs and runs["folds"].any():
            continue  # each fold has images of its own
        own = None if winner is None else winner.get(name)
        kept = runs[name].mode().iloc[0] if own is None or pd.isna(own) else own
        other = runs[name].notna() & (runs[name] != kept)
        lines.append(
            f"{counted(int(other.sum()), 'final run')} left out: of other {what} than the winner's"
        )
        runs = runs[~other]
    libraries = runs["libraries"].dropna().unique() if "libraries" in runs else ()
    if len(libraries) > 1:
        lines.append(f"runs with libraries of other versions: {'; '.join(libraries)}")
    return runs, lines


def state_of(runs: pd.DataFrame) -> str:
    """Return the digest of the data of runs that `of_one_state` chose; empty where unknown."""
    known = list(runs["data_digest"].dropna()) if "data_digest" in runs else []
    return str(known[0]) if known else ""


def several_states(found: Iterable[tuple[tuple[str, ...], str]]) -> dict[tuple[str, ...], int]:
    """Return how many states there are of the data, where there are several.

    found: the data set and classes of each group, and the digest, empty where it is unknown.
    """
    states: dict[tuple[str, ...], set[str]] = {}
    for data, state in found:
        if state:
            states.setdefault(data, set()).add(state)
    return {data: len(known) for data, known in states.items() if len(known) > 1}


def remarks_of(run: Run) -> list[str]:
    """Return what the run says of its data: a line each; nothing where it recorded none."""
    with contextlib.suppress(OSError, UnreadableError):
        known: Inputs | None = read_json(run.inputs_path, Inputs)
        return list(known.get("remarks", [])) if known else []
    return []
