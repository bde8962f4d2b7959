"""Where a place is looked for: the sweep's project, the current one, then the package."""

import os
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.control.places.lookup import SHIPPED, find_settings, place_folders
from fieldtrial.control.places.settings import LocalSettings, SlurmSettings
from tests.needs import need_root

ROOT = Path(__file__).parents[3]


def place(folder: Path, name: str, cores: int) -> Path:
    """Write a place of a project, known by its cores."""
    (folder / "cluster").mkdir(parents=True, exist_ok=True)
    path = folder / "cluster" / f"{name}.toml"
    path.write_text(f'kind = "local"\ncpus_per_trial = {cores}\n')
    return path


def cores(name: str, script: Path | None = None) -> int:
    settings = find_settings(name, script)
    assert isinstance(settings, LocalSettings)
    return settings.cpus_per_trial


def test_a_projects_places_come_before_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, here = tmp_path / "theirs", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    script = theirs / "sweeps" / "vision" / "x.py"
    assert place_folders(script) == [here / "cluster", SHIPPED]  # there is no project yet
    assert isinstance(find_settings("slurm", script), SlurmSettings)
    script.parent.mkdir(parents=True)
    place(here, "local", 3)
    assert place_folders(script) == [theirs / "cluster", here / "cluster", SHIPPED]
    assert (cores("local", script), cores("local")) == (3, 3)
    place(theirs, "local", 2)
    assert (cores("local", script), cores("local")) == (2, 3)
    place(here, "big", 8)
    assert cores("big", script) == 8


def test_a_missing_place_lists_those_of_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path, "big", 8)
    with pytest.raises(ConfigError) as caught:
        find_settings("moon", tmp_path / "sweeps" / "x.py")
    folder = tmp_path / "cluster"
    assert str(caught.value) == (
        f"--cluster: no such place: {folder / 'moon.toml'} is missing; places in {folder}: big;"
        f" places in {SHIPPED}: local, slurm"
    )


def test_a_strangers_place_above_ones_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root("gives files to other users")
    script = tmp_path / "mine" / "x.py"
    script.parent.mkdir()
    script.touch()
    monkeypatch.chdir(script.parent)
    path = place(tmp_path, "local", 2)
    os.chown(path, 54321, -1)
    with pytest.raises(ConfigError, match=r"local\.toml: belongs to user 54321, who could have"):
        find_settings("local", script)
    os.chown(script, 54321, -1)  # whose sweep is run may say where it runs
    assert cores("local", script) == 2


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_the_checkouts_places_are_those_of_the_package(name: str) -> None:
    """They are links, so that there is one text."""
    assert (ROOT / "cluster" / f"{name}.toml").resolve() == (SHIPPED / f"{name}.toml").resolve()
