"""Whose sweep a folder is: another one is refused once a trial of it was listed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ray import tune

from fieldtrial.budget import until
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.driver.begun import as_begun
from fieldtrial.control.driver.claim import claim_folder
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep

SMALL = Sweep(base=TrainConfig(epochs=1), rows=[{"optimizer": "sgd"}], search={}, trials=1, seeds=0)
OTHER = replace(
    SMALL,
    base=replace(SMALL.base, batch_size=32),
    rows=[*SMALL.rows, {"optimizer": "adamw"}],
    search={"lr": tune.loguniform(1e-4, 0.1)},
)


def claim(folder: SweepFolder, sweep: Sweep) -> None:
    """Claim a folder for a sweep, and write that."""
    claim_folder(sweep, folder).write()


def test_a_folder_of_another_sweep_is_refused_once_a_trial_was_listed(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    claim(folder, SMALL)
    claim(folder, OTHER)  # no trial has been listed
    folder.list_trial("3fa91b2c", 0, "search")
    larger = replace(OTHER, trials=9, seeds=9, finalists=2, searches=3, max_failures=9)
    claim(folder, larger)  # the budget may change
    with pytest.raises(ConfigError) as caught:
        claim(folder, replace(SMALL, deterministic=True))
    where = f"{folder.path} holds another sweep: "
    assert str(caught.value).splitlines() == [
        f"{where}base batch_size is 32 there and 64 now",
        f"{where}deterministic is False there and True now",
        f"{where}search lr is loguniform(0.0001, 0.1) there and not searched now",
        f"{where}give another --name, or undo the change",
    ]


@pytest.mark.parametrize("rounds", [False, True])
def test_a_begun_sweep_keeps_its_searcher_and_says_so(tmp_path: Path, rounds: bool) -> None:
    folder, sweep = SweepFolder(tmp_path / "sweep"), replace(OTHER, deterministic=rounds)
    claim(folder, replace(sweep, searcher="tpe"))
    assert as_begun(sweep, folder) == (sweep, [])  # no trial has been listed
    folder.list_trial("3fa91b2c", 0, "search")
    begun, lines = as_begun(sweep, folder)
    assert begun == replace(sweep, searcher="tpe")
    assert lines == [
        f"searcher = tpe: that with which {folder.path} was begun; the sweep's is gp now"
    ]
    claim(folder, begun)
    assert as_begun(begun, folder) == (begun, [])
    with pytest.raises(ConfigError, match="searcher is 'tpe' there and 'gp' now"):
        claim(folder, sweep)


def test_every_pair_may_be_asked_for_later_unless_it_decides_about_seeds(tmp_path: Path) -> None:
    fixed, undecided = (replace(SMALL, seeds=seeds) for seeds in (3, until(5)))
    folders = [SweepFolder(tmp_path / name) for name in ("fixed", "undecided")]
    for folder, sweep in zip(folders, (fixed, undecided), strict=True):
        claim(folder, sweep)
        folder.list_trial("3fa91b2c", 0, "search")
    claim(folders[0], replace(fixed, pairs=True))
    described = folders[0].description()
    assert described is not None
    assert described.pairs
    with pytest.raises(ConfigError, match="pairs is False there and True now"):
        claim(folders[1], replace(undecided, pairs=True))


def test_a_sweep_that_an_earlier_version_began_goes_on(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    claim(folder, OTHER)
    folder.list_trial("3fa91b2c", 0, "search")
    path = folder.path / "sweep.json"
    described = json.loads(path.read_text())
    del described["base"]["precision"], described["finalists"]  # they have come since
    path.write_text(json.dumps(described | {"search": {"lr": "loguniform(0.0001, 0.1)"}}))
    claim(folder, OTHER)
    assert json.loads(path.read_text())["search"]["lr"]["kind"] == "loguniform"


def test_a_sweep_goes_on_with_the_defaults_with_which_it_was_begun(tmp_path: Path) -> None:
    base = TrainConfig(epochs=1, weights="imagenet")
    sweep = replace(SMALL, base=base, rows=[{"model": "vgg11"}, {"model": "vgg13"}])
    folder = SweepFolder(tmp_path / "sweep")
    former = replace(base, dropout=0.0, preprocessing="square")
    claim(folder, replace(sweep, base=former))
    path = folder.path / "sweep.json"
    described = json.loads(path.read_text())
    folder.list_trial("3fa91b2c", 0, "search")
    # somebody has set these values, which are no former defaults
    assert as_begun(sweep, folder) == (sweep, [])
    (folder.path / "trials.jsonl").unlink()
    del described["base"]["preprocessing"], described["cut"]  # they have come since
    path.write_text(json.dumps(described))
    assert as_begun(sweep, folder) == (sweep, [])  # without trials there is nothing to go on with
    folder.list_trial("3fa91b2c", 0, "search")
    begun, lines = as_begun(sweep, folder)
    assert [row.config.id for row in begun.planned] == [
        replace(former, model=name).id for name in ("vgg11", "vgg13")
    ]
    where = f"the default with which {folder.path} was begun; today's is"
    assert lines == [f"preprocessing = square: {where} recipe", f"dropout = 0.0: {where} none"]
    claim(folder, begun)
    asked = replace(sweep, base=replace(base, dropout=0.3))
    assert as_begun(asked, folder)[0].base.dropout == 0.3
    asked = as_begun(sweep, folder, given=["preprocessing"])[0]
    assert (asked.base.preprocessing, asked.base.dropout) == ("recipe", 0.0)
    own = SweepFolder(tmp_path / "own")
    claim(own, SMALL)
    own.list_trial("3fa91b2c", 0, "search")
    assert as_begun(SMALL, own) == (SMALL, [])


def test_a_description_that_cannot_be_read_is_replaced_before_the_first_trial(
    tmp_path: Path,
) -> None:
    folder = SweepFolder(tmp_path)
    for content in ("{", '{"base": 3}'):
        (tmp_path / "sweep.json").write_text(content)
        claim(folder, SMALL)
    (tmp_path / "sweep.json").write_text("{")
    folder.list_trial("3fa91b2c", 0, "search")
    with pytest.raises(ConfigError, match=r"holds another sweep: .*sweep\.json: not a JSON file"):
        claim(folder, SMALL)


def test_seeds_that_change_after_final_runs_are_kept_in_mind(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")

    def seeds(seeds: int) -> tuple[int, ...]:
        claim(folder, replace(SMALL, seeds=seeds))
        return folder.require_description().earlier_seeds

    assert seeds(2) == seeds(3) == ()  # there is nothing to look at yet
    folder.list_trial("3fa91b2c", 0, "final")
    assert seeds(3) == ()
    assert seeds(until(10)) == (3,)
    assert seeds(until(10)) == (3,)  # the same command again
    assert seeds(5) == (3, 10)  # the looks of until are given up
    assert seeds(4) == (3, 10)
    assert seeds(6) == (3, 10, 4)


def test_a_sweep_whose_description_could_not_be_read_is_not_begun(tmp_path: Path) -> None:
    rows = [{"lr": 0.1 / number} for number in range(1, 1002)]
    with pytest.raises(ConfigError, match=r"rows: 1,001; there must be at most 1,000"):
        claim(SweepFolder(tmp_path / "sweep"), replace(SMALL, rows=rows))
    claim(SweepFolder(tmp_path / "sweep"), replace(SMALL, rows=rows[1:]))
    assert len(SweepFolder(tmp_path / "sweep").require_description().rows) == 1000


def test_an_old_sweep_keeps_its_cuts_and_a_new_one_has_the_new(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    claim(folder, SMALL)
    assert folder.cut() == "content"
    path = folder.path / "sweep.json"
    old = json.loads(path.read_text())
    del old["cut"]  # as earlier versions wrote it
    path.write_text(json.dumps(old))
    folder.list_trial("3fa91b2c", 0, "search")
    claim(folder, replace(SMALL, seeds=3))
    assert folder.cut() == "position"
