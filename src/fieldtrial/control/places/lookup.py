"""Where the file of a place is looked for: in the project's cluster/, then among the package's."""

import os
from pathlib import Path

from fieldtrial.config import ConfigError
from fieldtrial.control.places.settings import Settings, read_settings
from fieldtrial.own.project import project_root
from fieldtrial.processes import user_name

SHIPPED = Path(__file__).with_name("shipped")


def place_folders(script: Path | None = None) -> list[Path]:
    """Return the folders that are looked in for a place's file, in order.

    They are cluster/ of the project that the sweep file `script` is in, and of the one that the
    current folder is in, and last the folder of the places that come with the package.
    """
    starts = [*([script.parent] if script else []), Path.cwd()]
    roots = [root for start in starts if (root := project_root(start))]
    own = [root / "cluster" for root in roots] or [Path.cwd() / "cluster"]
    return [*dict.fromkeys(own), SHIPPED]


def find_settings(name: str, script: Path | None = None) -> Settings:
    """Return the settings of the place called `name`, for a sweep file or the current folder.

    Raises:
        ConfigError: there is no such place; it belongs to somebody who wrote neither the sweep file
            nor this program; unknown keys, or impossible values.
    """
    folders = place_folders(script)
    found = (folder / f"{name}.toml" for folder in folders)
    if path := next((path for path in found if path.exists()), None):
        require_trusted(path, script)
    return read_settings(name, *folders)


def require_trusted(
    path: Path, script: Path | None, danger: str = "have jobs run any code as you"
) -> None:
    """Raise ConfigError for a file that a stranger left above the sweep file or where one works.

    A place's `setup` is run. Trusted are the user, root, and who wrote the sweep file or this
    program, which run anyway. danger: what such a file could do.
    """
    known = [file.stat().st_uid for file in (script, SHIPPED) if file and file.exists()]
    owner = path.stat().st_uid
    if owner not in (os.geteuid(), 0, *known):
        who = user_name(owner)
        problem = f"belongs to {who}, who could {danger}"
        raise ConfigError(
            [f"{problem}; copy it to a project of yours if you trust {who}"], f"{path}"
        )
