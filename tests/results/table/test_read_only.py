"""The folder of somebody else's sweep, which may only be read."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fieldtrial.results.report import command as report
from fieldtrial.results.table.command import main
from tests.needs import need, need_root

if TYPE_CHECKING:
    from tests.results.conftest import Written


def test_what_may_only_be_read_is_shown_and_written_elsewhere(
    complete: "Written", capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Root may write anywhere, but not to a file system that is mounted read-only."""
    need_root("mounts a folder read-only")
    folder, theirs, out = complete.folder, tmp_path / "theirs", tmp_path / "mine" / "x"
    theirs.mkdir()
    mount = ["mount", "--bind", "-o", "ro", str(folder.path), str(theirs)]
    need(subprocess.run(mount, check=False).returncode == 0, "the right to mount a folder")
    try:
        assert main([str(theirs)]) == 0
        output, errors = capsys.readouterr()
        assert "60.00 ± " in output
        assert errors.startswith("not written: ")
        assert errors.endswith("; give --output DIR to write it elsewhere\n")
        assert errors.count("\n") == 1
        assert main([str(theirs), "--output", str(out)]) == 0
        output, errors = capsys.readouterr()
        assert "60.00 ± " in output
        assert errors == ""
        assert {path.name for path in out.iterdir()} == {"table.csv", "table.md", "trials.csv"}
        assert report.main([str(theirs)]) == 2
        assert "give --output DIR to write it elsewhere" in capsys.readouterr().err
        assert report.main([str(theirs), "--output", str(out)]) == 0
        page = (out / "report.html").read_text()
    finally:
        subprocess.run(["umount", "-l", str(theirs)], check=True)
    assert '"folder":"../../theirs/"' in page.replace('": "', '":"')
    written = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    assert main([str(folder.path)]) == 0
    assert written["table.csv"] == Path(folder.table_path("csv")).read_bytes()
    assert written["trials.csv"] == Path(folder.long_table_path).read_bytes()
