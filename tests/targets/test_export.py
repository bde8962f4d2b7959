"""The targets in a project's settings."""

from pathlib import Path

import pytest

from fieldtrial.targets.export import FILE, read_targets


def test_targets_are_the_words_after_to_and_paths_are_the_projects(tmp_path: Path) -> None:
    assert read_targets(tmp_path) == []
    words = '"mlflow sqlite:///a.db", "wandb --offline", "csv \'my tables\'"'
    (tmp_path / FILE).write_text(f"[logging]\nto = [{words}]\n")
    assert [one.words for one in read_targets(tmp_path)] == [
        ["mlflow", f"sqlite:///{tmp_path}/a.db"],
        ["wandb", str(tmp_path), "--offline"],
        ["csv", f"{tmp_path}/my tables"],
    ]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text('[logging]\nto = ["gold", "csv"]\nof = 1\n[more]\n')
    with pytest.raises(ValueError, match="more: unknown") as caught:
        read_targets(tmp_path)
    assert str(caught.value).splitlines() == [
        f"{file}: more: unknown; the only table is [logging]",
        f"{file}: logging.of: unknown; the only key is to",
        f"{file}: logging.to: --to gold: must be one of mlflow, wandb, csv, parquet, croissant",
        f"{file}: logging.to: --to csv: needs a folder",
    ]
    for text in ("to = [", "[logging]\nto = 3\n", "logging = 3\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match=FILE):
            read_targets(tmp_path)


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text('[logging]\nto = ["wandb --offline"]\n')
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'fieldtrial\[wandb\]'"):
        read_targets(tmp_path)
