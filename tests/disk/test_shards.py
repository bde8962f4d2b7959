"""Runs of a large sweep are in shards, and are found there by all that looks for a run."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.found import find
from fieldtrial.disk.inside import Inside, RefusedError
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task, TaskQueue
from fieldtrial.disk.work.shards import LAYOUT, MOST_BESIDE, beside, in_its_sweep
from fieldtrial.training.inputs.record import sweep_of
from tests.disk.test_sweep_folder import TINY

ID = TrainConfig().id


@pytest.fixture
def large(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "large")
    folder.make_room(MOST_BESIDE + 1)
    folder.write_description(TINY)
    Run.create(folder.run(ID).folder, TrainConfig())
    folder.list_trial(ID, 0, "search")
    return folder


def test_only_what_is_new_and_large_has_shards(tmp_path: Path, large: SweepFolder) -> None:
    assert large.run(ID).path == large.path / "trials" / ID[:2] / ID
    assert large.place_of(ID) == f"trials/{ID[:2]}/{ID}"
    small, begun = SweepFolder(tmp_path / "small"), SweepFolder(tmp_path / "begun")
    small.make_room(MOST_BESIDE)
    begun.write_description(TINY)
    begun.list_trial(ID, 0, "search")
    begun.make_room(MOST_BESIDE + 1)
    for folder in (small, begun):
        (folder.path / "trials").mkdir(parents=True)  # somebody's own
        for opened in (folder, SweepFolder(folder.path)):
            assert opened.run(ID).path == folder.path / ID
            assert opened.place_of(ID) == ID
            assert opened.folders() == ["trials"]


def test_who_opens_the_folder_later_finds_the_runs(large: SweepFolder) -> None:
    (large.path / "ensemble-1").mkdir()
    (large.path / "trials" / "00" / "00000000").mkdir(parents=True)
    again = SweepFolder(large.path)
    assert again.run(ID).config() == TrainConfig()
    assert again.run("ensemble-1").path == large.path / "ensemble-1"
    assert again.folders() == sorted(["00000000", ID, "ensemble-1"])
    assert [folder.path for folder, _ in find([large.path.parent]).sweeps] == [large.path]


def test_a_run_knows_its_sweep_and_those_beside_it(large: SweepFolder) -> None:
    run = large.run(ID)
    assert in_its_sweep(run.path) == Inside(large.path, ("trials", ID[:2], ID))
    assert in_its_sweep(large.path / ID) == Inside(large.path, (ID,))
    found = sweep_of(run, TrainConfig())
    assert found
    assert found.path == large.path
    other = "0123abcd"
    assert beside(run.path, other).path == large.run(other).path
    assert beside(large.path / ID, other).path == large.path / other
    assert beside(run.path, "ensemble-1").path == large.path / "ensemble-1"


def test_a_task_leads_to_its_run_and_to_no_other_sweeps(large: SweepFolder, tmp_path: Path) -> None:
    queue = TaskQueue(large.queue_path)
    queue.open()
    queue.register("1_0", {})
    for path in (large.run(ID).path, tmp_path / "other" / "trials" / ID[:2] / ID):
        queue.put(Task(str(path), 1))
        if path == large.run(ID).path:
            claimed = queue.claim("1_0")
            assert claimed
            assert claimed.trial == ID
            assert claimed.open_run().config() == TrainConfig()
            queue.forget("1_0", claimed.name)
        else:
            with pytest.raises(RefusedError, match="is not in"):
                queue.claim("1_0")


@pytest.mark.parametrize("link", ["trials", f"trials/{ID[:2]}", f"trials/{ID[:2]}/{ID}"])
def test_no_link_on_the_way_is_followed(large: SweepFolder, tmp_path: Path, link: str) -> None:
    theirs = tmp_path / "theirs"
    (theirs / link).parent.mkdir(parents=True)
    (theirs / link).symlink_to(large.path / link)
    if link != "trials":
        (theirs / "trials" / LAYOUT).touch()
    folder = SweepFolder(theirs)
    task = Task(str(theirs / "trials" / ID[:2] / ID), 1)
    for run in (folder.run(ID), task.open_run()):
        with pytest.raises((FileNotFoundError, RefusedError)):
            run.config()
    with pytest.raises(RefusedError, match="is a link"):
        task.open_run().config()
    assert set(folder.folders()) <= {"trials", ID}
