"""Where results are exported to: what stands after --to, on a command line and in fieldtrial.toml.

A project's fieldtrial.toml, beside its sweeps/, has what is exported while a sweep runs:

    [logging]
    to = ["mlflow http://tracker:5000", "wandb --offline"]
"""

import importlib.util
import os
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FILE = "fieldtrial.toml"
OFFLINE = "--offline"
PLACES = {
    "mlflow": "the address of an MLflow store, such as sqlite:///mlflow.db",
    "wandb": "the folder that wandb/ is in",
    "csv": "a folder",
    "parquet": "a folder",
    "croissant": "a file",
}
LIBRARIES = ("mlflow", "wandb")  # targets that need a library of the same name
ADDRESS = "MLFLOW_TRACKING_URI"
DATABASE = "sqlite:///"  # before a file


@dataclass(frozen=True)
class Target:
    """What is exported to: its kind, a key of PLACES, and its address, folder or file."""

    kind: str
    place: str

    @property
    def words(self) -> list[str]:
        """The target as it stands after --to."""
        return [self.kind, self.place, *([OFFLINE] if self.kind == "wandb" else [])]

    def __str__(self) -> str:
        return shlex.join(self.words)


def parse_target(words: Sequence[str], offline: bool = False) -> Target:
    """Return the target of the words after --to.

    Raises:
        ValueError: an unknown kind, a place too few or too many, or a library that is missing.
    """
    kind, *places = (word for word in words if word != OFFLINE)
    is_offline = offline or OFFLINE in words
    if kind not in PLACES:
        raise ValueError(f"--to {kind}: must be one of {', '.join(PLACES)}")
    if len(places) > 1:
        raise ValueError(f"--to {' '.join(words)}: must be followed by {PLACES[kind]}, and no more")
    if kind != "wandb" and is_offline:
        raise ValueError(f"--offline: not with {kind}")
    if kind == "wandb" and not is_offline:
        raise ValueError("--to wandb: needs --offline; `wandb sync` then sends what was written")
    default = {"wandb": ".", "mlflow": os.environ.get(ADDRESS, "")}.get(kind, "")
    place = places[0] if places else default
    if not place:
        or_variable = f", or ${ADDRESS}" if kind == "mlflow" else ""
        raise ValueError(f"--to {kind}: needs {PLACES[kind]}{or_variable}")
    if kind in LIBRARIES and importlib.util.find_spec(kind) is None:
        raise ValueError(f"--to {kind}: {kind} is not installed; pip install 'fieldtrial[{kind}]'")
    return Target(kind, place)


def read_targets(folder: Path) -> list[Target]:
    """Return the targets of fieldtrial.toml in the folder; none without the file.

    Folders and files in it are relative to the folder.

    Raises:
        ValueError: it is no TOML, or has unknown keys or targets; all problems at once.
    """
    path = folder / FILE
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    logging = values.pop("logging", {})
    keys = logging if isinstance(logging, dict) else {"to": None}
    known = keys.pop("to", [])
    problems = [f"{path}: {name}: unknown; the only table is [logging]" for name in values]
    problems += [f"{path}: logging.{name}: unknown; the only key is to" for name in keys]
    if not isinstance(known, list) or not all(isinstance(one, str) and one for one in known):
        problems.append(f'{path}: logging.to: must be a list, such as ["wandb --offline"]')
        known = []
    found = []
    for text in known:
        try:
            target = parse_target(shlex.split(text))
            scheme, is_file, file = target.place.rpartition(DATABASE)
            if is_file and not scheme:
                target = replace(target, place=f"{DATABASE}{folder / file}")
            elif target.kind != "mlflow":
                target = replace(target, place=str(folder / target.place))
            found.append(target)
        except ValueError as error:
            problems.append(f"{path}: logging.to: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return found
