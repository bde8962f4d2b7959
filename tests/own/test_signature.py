"""What own parts take is read from their sources; nothing of them is run."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.freezing_schemes import SCHEMES
from fieldtrial.own.find import meant, require
from fieldtrial.own.names import RESERVED, is_option, is_own
from fieldtrial.own.project import project_root
from fieldtrial.own.signature import read
from tests.own.projects import RAN, make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nets:Net", {"width": (int, False), "rate": (float, False)}),  # the base's
        (
            "nets:Field",
            {
                "depth": (int, True),
                "kind": (Literal["plain", "gated"], False),
                "sizes": (tuple[int, ...], False),
                "note": (str | None, False),
            },
        ),
        (
            "nets:build",
            {"width": (int | None, False), "plain": (None, False), "other": (None, False)},
        ),
        ("nets:alias", {"width": (int | None, False), "plain": (None, False),
                        "other": (None, False)}),
        ("nets:Renamed", {"depth": (int, True)}),  # from another file
        ("nets:deeper", {"steps": (int, False)}),  # through `import *`
        ("nets:made", None),  # by a call, which is not run
        ("nets:any_of", None),
    ],
)  # fmt: skip
def test_options_are_read_from_the_source(
    project: Path, name: str, options: dict[str, Any] | None
) -> None:
    signature = read("model", name, (project,))
    assert signature.takes_any is (options is None)
    found = {key: (one.hint, one.is_required) for key, one in signature.options.items()}
    assert found == (options or {})
    assert not (project / RAN).exists()


def test_an_optimiser_of_torch_is_given_its_rate_by_name() -> None:
    options = read("optimizer", "torch.optim:RAdam", ()).options
    assert {"betas", "eps"} <= options.keys()
    assert {"params", "lr", "weight_decay"}.isdisjoint(options)


def test_a_loss_may_ask_for_features(project: Path) -> None:
    (project / "losses.py").write_text("def near(outputs, targets, features, *, margin=0.5): ...\n")
    assert list(read("loss", "losses:near", (project,)).options) == ["margin"]


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        ("model", "nets.py:Net", "the installed packages; did you mean nets:Net?"),
        ("model", "lacking:Net", "no module lacking; looked in {project}, the installed packages"),
        ("model", "pkg.lacking:Net", "no module pkg.lacking; looked in {project}, the installed"),
        ("model", "nets:Lacking", "{project}/nets.py has no Lacking; it has Base, Field, Net, an"),
        ("model", "nets:SIZE", "SIZE in {project}/nets.py is no function and no class"),
        ("model", "nets:none", "it takes nothing, and is given shape"),
        ("optimizer", "nets:build", "it does not take lr, weight_decay, which it is given by name"),
        ("model", "broken:Net", "{project}/broken.py, line 2: "),
    ],
)
def test_what_is_no_part_is_refused_in_a_line(
    project: Path, kind: str, name: str, problem: str
) -> None:
    (project / "broken.py").write_text("x = 1\nclass Net\n")
    with pytest.raises(ValueError, match=re.escape(problem.format(project=project))) as caught:
        read(kind, name, (project,))
    assert "\n" not in str(caught.value)


def test_a_dot_in_the_place_of_the_colon_is_answered_with_the_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "sweeps")
    for field, value in (("loss", "nets.Net"), ("freeze", "pkg.inner.Deep")):
        with pytest.raises(ConfigError, match=f"; did you mean {':'.join(value.rsplit('.', 1))}"):
            TrainConfig.from_dict({field: value})
    with pytest.raises(ConfigError, match="did you mean nets:Net"):
        TrainConfig(metrics=("nets.Net",))
    assert (meant("lacking.Net"), meant("nets"), meant("resnet18.a1_in1k")) == ("", "", "")
    assert not (project / RAN).exists()


def test_outside_of_a_project_its_folder_is_asked_for() -> None:
    with pytest.raises(ValueError, match="is in no project: give the command in the project's fol"):
        require("lacking", ())


def test_names_of_other_values_are_no_own_parts() -> None:
    assert is_own("nets:Net")
    assert is_own("a.b_c:d1")
    for text in ("nets", "nets:", ":Net", "nets:a.b", "timm:resnet18", "only:layer3", "first:2",
                 "folder:data", "darknet:yolov3", "run:abc", "a-b:c", "1a:b"):  # fmt: skip
        assert not is_own(text), text
    assert SCHEMES.keys() <= RESERVED, "a scheme's argument would be a part"
    assert is_option("model.width")
    assert not is_option("modle.width")
    assert not is_option("model.width.x")


def test_a_project_is_the_nearest_folder_with_sweeps_or_places(tmp_path: Path) -> None:
    project = make_project(tmp_path / "outer" / "project")
    (tmp_path / "outer" / "cluster").mkdir()
    assert project_root(project / "sweeps") == project
    assert project_root(project / "sweeps" / "first.py") == project
    assert project_root(project / "pkg") == project
    assert project_root(tmp_path / "outer") == tmp_path / "outer"
    assert project_root(Path("/")) is None
