"""CI does not skip what it could run; an ordinary user is told what is missing."""

import os
import shutil

import pytest

from tests.chromium import chromium
from tests.needs import need, need_root
from tests.slurm_cluster import temporary_cluster
from tests.unreliable import need_fuse

CI = pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)]
)


@CI
def test_what_can_be_installed_is_there_on_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    need("/usr/bin/chromium", "Chromium")
    with pytest.raises(outcome, match=r"^needs Chromium$"):
        need(None, "Chromium")


@CI
def test_clusters_browsers_and_file_systems_are_needed(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(outcome, match="needs SLURM"), temporary_cluster():
        pass
    with pytest.raises(outcome, match="needs Chromium"):
        chromium()
    with pytest.raises(outcome, match="needs bindfs"):
        need_fuse()


@pytest.mark.parametrize("ci", ["true", ""])
def test_an_ordinary_user_is_told_that_root_is_needed(
    ci: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match=r"^needs root: starts a SLURM cluster$"):
        need_root("starts a SLURM cluster")
    with pytest.raises(pytest.skip.Exception, match="needs root"), temporary_cluster():
        pass
    with pytest.raises(pytest.skip.Exception, match="needs root"):
        need_fuse()
