"""Pictures of a run: valid files, the same in TensorBoard, and one error without a model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.insight.chosen import choose
from fieldtrial.insight.classes import confused_pairs, embedding, predictions_grid
from fieldtrial.insight.explain import _cam, _guided, _maps, explain
from fieldtrial.insight.subject import Subject, last_map, open_subject, sample
from fieldtrial.training.distributed.world import World
from tests.job_commands import Job

ALWAYS = {"predictions", "embedding"}
OF_MAPS = {
    "filters",
    "feature-maps-1",
    "feature-maps-2",
    "feature-maps-3",
    "guided-backpropagation",
    "grad-cam",
}


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title().strip()]


def test_predictions_say_what_was_taken_for_what(subject: Subject) -> None:
    made = subject.predictions
    wrong = int((made.predicted != made.label).sum())
    shown = titles(predictions_grid(subject, 12))
    assert len(shown) == 12
    assert sum(title.startswith("✗") for title in shown) == min(wrong, 6)
    for title in shown:
        sign, predicted, _, _, label = title.split()
        assert (sign == "✓") == (predicted == label)


def test_confused_pairs_come_in_order(subject: Subject) -> None:
    made = subject.predictions
    matrix = made.confusion_matrix()
    np.fill_diagonal(matrix, 0)
    if not matrix.any():
        with pytest.raises(ValueError, match="all test images are right"):
            confused_pairs(subject)
        return
    heads = [title for title in titles(confused_pairs(subject)) if "taken for" in title]
    counts = [int(head.splitlines()[-1].split()[0]) for head in heads]
    assert counts == sorted(matrix[matrix > 0].tolist(), reverse=True)[:8]


def test_a_network_that_knows_nothing_confuses_all_with_one(trained: Callable[..., Run]) -> None:
    blind = open_subject(trained(lr=1e-12, epochs=1), World())
    matrix = blind.predictions.confusion_matrix()
    np.fill_diagonal(matrix, 0)
    heads = [title for title in titles(confused_pairs(blind)) if "taken for" in title]
    first = heads[0].splitlines()
    worst = np.unravel_index(matrix.argmax(), matrix.shape)
    assert [first[0], first[2], first[3].split()[0]] == [
        str(worst[0]),
        str(worst[1]),
        str(matrix.max()),
    ]


def test_the_map_of_features_keeps_classes_together(subject: Subject) -> None:
    figure = embedding(subject)
    groups = {
        str(points.get_label()): np.asarray(points.get_offsets())
        for points in figure.axes[0].collections
    }
    counts = dict(
        zip(subject.data.class_names, np.bincount(subject.predictions.label).tolist(), strict=True)
    )
    assert {name: len(points) for name, points in groups.items()} == counts
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(
        subject.data.class_names
    )
    middles = {name: np.median(points, axis=0) for name, points in groups.items()}
    at_home = [
        name == min(middles, key=lambda other: float(np.linalg.norm(point - middles[other])))
        for name, points in groups.items()
        for point in points
    ]
    assert np.mean(at_home) > 0.6  # by chance it would be a quarter


def test_a_sample_has_all_classes_in_turn(subject: Subject) -> None:
    drawn = sample(subject, 8)
    assert sorted(subject.data.labels[drawn].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert drawn == sample(subject, 8)
    assert drawn != sample(subject, 8, seed=1)
    assert set(drawn) <= set(subject.data.test.tolist())


def test_a_run_that_was_not_tested_shows_validation_images(trained: Callable[..., Run]) -> None:
    untested = open_subject(trained(test=False), World())
    assert untested.split == "validation"
    assert untested.predictions.index.tolist() == untested.data.validation.tolist()
    assert not untested.run.predictions_path("test").exists()


@pytest.mark.slow
def test_every_picture_is_a_file_and_an_image_of_tensorboard(trained: Callable[..., Run]) -> None:
    run = trained()
    paths = list(explain(run, World(), images=6))
    names = {path.stem for path in paths}
    assert names - {"confused-pairs"} == ALWAYS | OF_MAPS
    assert paths == [run.picture_path(path.stem) for path in paths]
    assert set(run.pictures()) == set(paths)
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 100
        assert pixels.std() > 5  # something is on it
    events = EventAccumulator(str(run.tensorboard_folder))
    events.Reload()
    assert {tag.removeprefix("explain/") for tag in events.Tags()["images"]} == names
    assert "validation_accuracy" in events.Tags()["scalars"]


def test_chosen_files_are_explained_with_their_folders_as_classes(
    trained: Callable[..., Run], subject: Subject, tmp_path: Path
) -> None:
    index = sample(subject, 4)
    paths = [tmp_path / str(subject.data.labels[one]) / "image.png" for one in index]
    paths[3] = tmp_path / "elsewhere" / "image.png"
    for path, one in zip(paths, index, strict=True):
        path.parent.mkdir()
        Image.fromarray(subject.pixels(one)).save(path)
    chosen = choose(subject, paths)
    place = [int(np.flatnonzero(subject.predictions.index == one)[0]) for one in index]
    known = subject.predictions.probability[place]
    assert np.allclose(chosen.predictions.probability, known, atol=1e-6), "the same pixels"
    names = [subject.class_name(int(subject.data.labels[one])) for one in index[:3]]
    shown = titles(predictions_grid(chosen, 4))
    assert {title.split("/ ")[1] for title in shown} == {*names, "unknown"}
    drawn = {path.stem for path in explain(trained(), World(), files=paths)}
    assert drawn == {
        "predictions-chosen",
        *(f"feature-maps-chosen-{number}" for number in range(1, 5)),
        "guided-backpropagation-chosen",
        "grad-cam-chosen",
    }
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png is not a readable image"):
        choose(subject, [tmp_path / "text.png"])


def test_every_title_has_the_actual_class(subject: Subject) -> None:
    layer, images = last_map(subject), sample(subject, 4)
    for figure in (_cam(subject, layer, images), _maps(subject, images[0], None)):
        judged = [title for title in titles(figure) if "/ " in title]
        assert len(judged) == (4 if len(figure.axes) <= 6 else 1)
        for title in judged:
            sign, predicted, _, _, label = title.split()
            assert (sign == "✓") == (predicted == label)
    guided = titles(_guided(subject, layer, 0))
    assert len(guided) == 8  # channels
    assert {title.splitlines()[2] for title in guided} <= set(subject.data.class_names)


@pytest.mark.slow
def test_the_command_draws_what_a_perceptron_has_and_says_what_it_has_not(
    command: Job,
    trained: Callable[..., Run],
) -> None:
    run = trained(model="mlp")
    done = command("explain.py", "--run", run.path, "--images", "4")
    assert done.returncode == 0, done.stderr
    names = {Path(line).stem for line in done.stdout.splitlines()}
    assert names >= ALWAYS
    assert not names & OF_MAPS
    assert "mlp has no convolution" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--layer", "layer9"],
            "layer = 'layer9': cnn has no layer of that name whose output",
        ),
        (["--images", "0"], "--images '0': must be a whole number from 1, or image files"),
    ],
)
def test_bad_flags_get_one_clear_error(
    job: Job, trained: Callable[..., Run], arguments: list[str], message: str
) -> None:
    done = job("explain.py", "--run", trained().path, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_that_has_not_ended_gets_one_clear_error(job: Job, tmp_path: Path) -> None:
    Run.create(tmp_path / "run", TrainConfig())
    done = job("explain.py", "--run", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "has not ended well" in done.stderr
    missing = job("explain.py", "--run", tmp_path / "none")
    assert "config.json: no such file" in missing.stderr
    assert missing.stderr.count("\n") == 1
