import os
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings, Settings, read_settings

CORES = len(os.sched_getaffinity(0))
ROOT = Path(__file__).parents[3]


def written(folder: Path, text: str) -> Settings:
    (folder / "here.toml").write_text(text)
    return read_settings("here", folder)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        written(folder, text)
    assert all(
        line.startswith(f"{folder / 'here.toml'}: ") for line in str(caught.value).splitlines()
    )
    return caught.value.problems


def test_a_place_is_read(tmp_path: Path) -> None:
    text = (
        'kind = "local"\ncpus_per_trial = 4\ngpus_per_trial = 0.25\nprocesses_per_trial ='
        " 2\nteraflops = 10\n"
    )
    assert written(tmp_path, text) == LocalSettings(4, 0.25, 2, teraflops=10)
    assert written(tmp_path, 'kind = "local"') == LocalSettings()


def test_the_places_of_the_project_can_be_read() -> None:
    places = [path.stem for path in (ROOT / "cluster").glob("*.toml")]
    assert "local" in places
    for name in places:
        assert read_settings(name, ROOT / "cluster")


def test_a_missing_place_lists_those_that_there_are(tmp_path: Path) -> None:
    for name in ("local", "big"):
        (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(
        ConfigError, match=r"--cluster: no such place: .*/slurm.toml is missing.*: big, local$"
    ):
        read_settings("slurm", tmp_path)
    with pytest.raises(ConfigError, match=r"none$"):
        read_settings("slurm", tmp_path / "nowhere")


def test_unknown_keys_and_wrong_types_are_told_at_once(tmp_path: Path) -> None:
    text = (
        'kind = "local"\ncpu = 2\ncpus_per_trial = 1.5\nmost_trials = true\nteraflops ='
        ' "1"\ngpus_per_trial = [1]\n'
    )
    found = problems(tmp_path, text)
    assert len(found) == 5
    assert (
        found[0]
        == "unknown key 'cpu'; keys: kind, cpus_per_trial, gpus_per_trial, processes_per_trial,"
        " most_trials, trials_together, teraflops, ray_folder"
    )
    assert found[1] == "cpus_per_trial = 1.5: must be a whole number"
    assert "gpus_per_trial = [1]: must be a number" in found
    assert "most_trials = True: must be a whole number" in found


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("cpus_per_trial = 0", "at least 1"),
        ("gpus_per_trial = -1", "at least 0"),
        ("gpus_per_trial = 1.5", "must be whole, or below 1"),
        ("processes_per_trial = 0", "at least 1"),
        ("processes_per_trial = 2", "must not be more than the trial's cores"),
        ("most_trials = 0", "at least 1"),
        ("teraflops = 0.0", "above 0"),
        ("teraflops = nan", "must be finite"),
        ("gpus_per_trial = nan", "must be"),
        ("gpus_per_trial = inf", "must be"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, line: str, rule: str) -> None:
    found = problems(tmp_path, f'kind = "local"\n{line}')
    assert any(problem.startswith(line.partition("=")[0]) and rule in problem for problem in found)


def test_kinds_are_listed(tmp_path: Path) -> None:
    assert problems(tmp_path, 'kind = "cloud"') == ["kind = 'cloud': must be one of local, slurm"]
    assert problems(tmp_path, "") == ["kind = None: must be one of local, slurm"]
    assert problems(tmp_path, "kind = [1]") == ["kind = [1]: must be one of local, slurm"]


def test_what_is_no_toml_is_told(tmp_path: Path) -> None:
    assert "line 2" in problems(tmp_path, 'kind = "local"\n= 3')[0]
    (tmp_path / "here.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"here.toml"):
        read_settings("here", tmp_path)


def test_a_number_that_must_be_text_is_to_be_quoted(tmp_path: Path) -> None:
    text = 'kind = "slurm"\naccount = true\nenvironment = {OMP_NUM_THREADS = 4}\nsetup = ["a", 1.5]'
    assert problems(tmp_path, f"{text}\n[sbatch]\nnice = 3\n") == [
        'account = True: must be text, in quotes: "true"',
        "setup = ['a', 1.5]: must be text, in quotes: \"1.5\"",
        "environment = {'OMP_NUM_THREADS': 4}: must be text, in quotes: \"4\"",
        "sbatch = {'nice': 3}: must be text, in quotes: \"3\"",
    ]


def test_a_trial_gets_no_more_cores_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=f"cpus_per_trial = {CORES + 1}: this machine has {CORES} cores"
    ):
        LocalPlace(LocalSettings(cpus_per_trial=CORES + 1))


def test_a_trial_gets_no_more_devices_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"gpus_per_trial = 1000: this machine has \d+ GPUs"):
        LocalPlace(LocalSettings(gpus_per_trial=1000))
