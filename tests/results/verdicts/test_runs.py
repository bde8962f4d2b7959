"""A row's runs from its files: distinct ones, with scores on images where these are stored."""

from pathlib import Path

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.verdicts.runs import FinalRun, runs_of


def written(
    folder: Path, seed: int, probability: np.ndarray, index: "np.ndarray | None" = None
) -> FinalRun:
    config = TrainConfig(seed=seed)
    run = Run.create(folder / config.id, config)
    label = np.arange(len(probability)) % probability.shape[1]
    value = float((probability.argmax(1) == label).mean())
    order = np.arange(len(label)) if index is None else index
    np.savez(
        run.predictions_path("test"),
        index=order,
        label=label[order],
        log_probability=np.log(probability[order]).astype(np.float32),
    )
    return FinalRun(run, value, images=len(label))


def answers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), 30)


def test_scores_are_those_of_the_images_in_order(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(9).permutation(30)
    tested = [written(tmp_path, 1, answers(1)), written(tmp_path, 2, answers(2), shuffled)]
    found, problem = runs_of(tested, "test_accuracy")
    assert problem == ""
    assert found.scores is not None
    assert found.images is not None
    assert found.images.tolist() == list(range(30))
    expected = [answers(seed).argmax(1) == np.arange(30) % 3 for seed in (1, 2)]
    np.testing.assert_array_equal(found.scores, expected)
    np.testing.assert_allclose(found.scores.mean(1), found.values)
    assert (found.unit, found.step) == (1.0, 1 / 30)


def test_identical_runs_are_one_run(tmp_path: Path) -> None:
    tested = [written(tmp_path, seed, answers(1)) for seed in (1, 2, 3)]
    found, _ = runs_of(tested, "test_accuracy")
    assert (len(found.values), found.repeated, found.is_deterministic) == (1, 2, True)
    other, _ = runs_of([*tested[:2], written(tmp_path, 4, answers(2))], "test_accuracy")
    assert (len(other.values), other.repeated, other.is_deterministic) == (3, 0, False)


@pytest.mark.parametrize("metric", ["test_macro_f1", "test_auc"])
def test_pseudo_values_have_the_runs_own_value_as_their_mean(tmp_path: Path, metric: str) -> None:
    tested = []
    for seed in (1, 2, 3):
        one = written(tmp_path, seed, answers(seed))
        made = load_predictions(one.run)
        value = made.summary()[metric.removeprefix("test_")]
        tested.append(FinalRun(one.run, value, images=30))
    found, problem = runs_of(tested, metric)
    assert problem == ""
    assert found.scores is not None
    np.testing.assert_allclose(found.scores.mean(1), [one.value for one in tested])


def test_searches_that_ended_alike_are_one(tmp_path: Path) -> None:
    tested = [written(tmp_path, seed, answers(1 + seed // 9)) for seed in range(1, 10)]
    alike = [FinalRun(one.run, one.value, n // 3) for n, one in enumerate(tested[:6])]
    found, _ = runs_of(alike, "test_accuracy")
    assert (len(found.values), found.repeated, found.of_searches) == (1, 1, True)
    mixed = [FinalRun(one.run, one.value, n // 3) for n, one in enumerate(tested)]
    found, _ = runs_of(mixed, "test_accuracy")
    assert (len(found.values), found.repeated) == (3, 0)
    assert np.isfinite(found.values).all()


def test_predictions_with_an_image_twice_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path, 1, answers(1), np.array([0, 1, 2, 2]))
    assert "an image is there twice" in runs_of([one, one, one], "test_accuracy")[1]


def test_equal_accuracies_do_not_make_runs_equal(tmp_path: Path) -> None:
    first = answers(1)
    tested = [written(tmp_path, seed, first ** (1 + seed / 10)) for seed in (1, 2, 3)]
    assert len({one.value for one in tested}) == 1
    assert len(runs_of(tested, "test_accuracy")[0].values) == 3


@pytest.mark.parametrize("results", [None, (0.5, 0.7)])
def test_without_predictions_results_tell_equal_runs(tmp_path: Path, results: object) -> None:
    tested = [FinalRun(Run(tmp_path / str(n)), 0.5, results=results) for n in range(3)]
    found, problem = runs_of(tested, "validation_accuracy")
    assert (found.scores, problem) == (None, "")
    assert len(found.values) == (1 if results else 3)


def test_missing_damaged_and_foreign_predictions_are_said(tmp_path: Path) -> None:
    tested = [written(tmp_path, seed, answers(seed)) for seed in (1, 2, 3)]
    path = Path(tested[1].run.predictions_path("test"))
    kept = path.read_bytes()
    path.unlink()
    found, problem = runs_of(tested, "test_accuracy")
    assert found.scores is None
    assert problem == f"{tested[1].run.name} has stored no predictions"
    path.write_bytes(kept[:100])
    assert "not whole predictions" in runs_of(tested, "test_accuracy")[1]
    path.write_bytes(tested[0].run.predictions_path("test").read_bytes())
    assert runs_of(tested, "test_accuracy")[1].endswith("predictions are not those of its result")


def test_a_row_that_was_searched_several_times_has_a_run_for_each_search(tmp_path: Path) -> None:
    tested = [written(tmp_path, seed, answers(seed)) for seed in range(1, 7)]
    searches = [
        FinalRun(one.run, one.value, number // 2, images=30) for number, one in enumerate(tested)
    ]
    found, _ = runs_of(searches, "test_accuracy")
    expected = [(tested[n].value + tested[n + 1].value) / 2 for n in (0, 2, 4)]
    np.testing.assert_allclose(found.values, expected)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores.mean(1), expected)
