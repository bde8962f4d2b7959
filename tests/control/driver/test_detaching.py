"""After which endings of a driver its jobs run on."""

from pathlib import Path
from unittest import mock

import pytest

from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.running.detaching import DETACHED, detaches
from fieldtrial.control.running.errors import WorkError
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.driver.test_drive import SMALL


@pytest.mark.parametrize(
    ("ending", "detached"),
    [
        (KeyError("a line of squeue"), True),
        (WorkError("the first 3 trials failed with the same error"), False),
        (PlaceError("3 jobs in a row ended"), False),
        (None, False),
    ],
)
def test_an_error_that_nobody_has_foreseen_ends_the_driver_and_no_job(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ending: Exception | None,
    detached: bool,
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    assert detaches(True, ending, True, folder) == detached
    said = capsys.readouterr().err
    assert (
        f"by an error of this program, which follows. {DETACHED.format(folder.path)}" in said
    ) == detached
    assert not detaches(True, ending, False, folder), "it has no jobs"


def test_who_reads_the_output_no_more_has_cancelled_nothing(tmp_path: Path) -> None:
    folder, place = SweepFolder(tmp_path / "sweep"), mock.Mock(slots=1, together=1, processes=1)
    place.adopt.return_value = []
    engine = Engine(SMALL, folder, place, check_ownership=mock.Mock(side_effect=BrokenPipeError))
    with pytest.raises(WorkError, match="sweep: ") as caught:
        engine.run()
    assert detaches(True, caught.value, True, folder)
    assert not detaches(True, caught.value, False, folder)
