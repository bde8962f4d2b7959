"""Tables of labels and stored answers, fed by chance; see test_parsers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldtrial.config import ConfigError
from fieldtrial.disk.files import write_arrays
from fieldtrial.results.read.answers import load_answers
from fieldtrial.training.data.dataset import Wanted
from fieldtrial.training.data.labels.labelled_folder import open_folder
from tests.fuzz.test_parsers import ON_DISK, mutated
from tests.results.conftest import Written
from tests.training.data.labels.pictures import write_pictures

pytestmark = pytest.mark.fuzz
TABLE = b"""image,part,cat,dog,age,label
"images/000.png",train,1,0,3.5,a
images/001.png,test,0,1,-7e2,b
"""
TASKS = ("classification", "multilabel", "regression")
parts = st.sampled_from(
    [b",", b";", b"\t", b'"', b"\n", b"\r", b"1", b"0", b"nan", b"train", b"../"]
)


@pytest.mark.parametrize("task", TASKS)
@ON_DISK
@given(data=st.data())
def test_tables(task: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / f"fuzz-{task}"
    if not root.exists():
        write_pictures(root, 2)
    text = data.draw(mutated(TABLE) | st.lists(parts | st.binary(max_size=3)).map(b"".join))
    (root / "labels.csv").write_bytes(text)
    target = "age" if task == "regression" else None
    try:
        found = open_folder(root, Wanted(task, target)).contents()  # type: ignore[arg-type]
    except ConfigError as error:
        assert all(line.startswith("dataset = ") for line in error.problems)
    else:
        images = len(found.labels)
        assert 1 <= images <= 2
        assert {Path(found.where(number)).parent for number in range(images)} <= {root / "images"}
        if found.annotations:
            assert np.isfinite(found.annotations.values).all()  # type: ignore[attr-defined]


ANSWERS = [
    {"truth": np.ones((3, 2), np.uint8), "logit": np.zeros((3, 2), np.float32)},
    {"target": np.zeros(3), "value": np.ones(3), "deviation": np.ones(1)},
]


@pytest.mark.parametrize("arrays", ANSWERS)
@ON_DISK
@given(data=st.data())
def test_answers(
    arrays: dict[str, np.ndarray], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Written(tmp_path_factory.mktemp("answers")).folder.run("run")
    run.path.mkdir(parents=True)
    write_arrays(run.predictions_path("test"), index=np.arange(3), **arrays)
    whole = run.predictions_path("test").read_bytes()
    Path(run.predictions_path("test")).write_bytes(data.draw(mutated(whole)))
    try:
        found = load_answers(run)
    except ValueError as error:
        assert "not whole predictions" in str(error)
    else:
        assert found is not None
        assert len(found.index) == len(found.answer)
        assert all(map(np.isfinite, found.summary().values()))
