"""Comparisons over folds against what their formulas give, computed here another way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.comparisons import compare
from fieldtrial.results.verdicts.crossed import CAUTION, Runs, contrasts_of, family_of
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.folds import Folds
from fieldtrial.results.verdicts.runs import FinalRun, runs_of

DIFFERENCE = np.array([[1.0, -1.0]])


def of_folds(scores: np.ndarray, fold: np.ndarray, unit: float = 0.0) -> Runs:
    """Return a row that has scored each image once."""
    numbers = np.unique(fold)
    values = np.array([scores[fold == number].mean() for number in numbers])
    images = np.arange(len(scores))
    return Runs(values, scores[None], images, unit, folds=Folds(numbers, len(numbers), fold))


def test_without_scores_it_is_the_corrected_resampled_t_test() -> None:
    """C. Nadeau, Y. Bengio 2003, with a tested part of a fifth of the images."""
    first = np.array([0.91, 0.94, 0.92, 0.88, 0.93])
    second = np.array([0.90, 0.91, 0.86, 0.87, 0.90])
    rows = [Runs(one, folds=Folds(np.arange(5), 5)) for one in (first, second)]
    found = contrasts_of(family_of(rows), DIFFERENCE)
    differences = first - second
    error = np.sqrt((1 / 5 + 0.2 / 0.8) * differences.var(ddof=1))
    assert found.sums[0] == pytest.approx(differences.mean())
    assert found.errors[0] == pytest.approx(error)
    assert found.freedom[0] == pytest.approx(CAUTION * 4)
    (one,) = compare(rows, DIFFERENCE)
    assert one.p == pytest.approx(2 * stats.t.sf(differences.mean() / error, CAUTION * 4))
    assert one.basis == "folds"


def test_images_count_once_and_trainings_for_more_than_a_part_each() -> None:
    """Twelve images in three folds, small enough to do by hand."""
    fold = np.array([0, 1, 2] * 4)
    first = np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1], float)
    second = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1], float)
    family = family_of([of_folds(first, fold), of_folds(second, fold)])
    found = contrasts_of(family, DIFFERENCE)
    score = first - second
    means = np.array([score[fold == number].mean() for number in range(3)])
    within = sum(((score[fold == n] - means[n]) ** 2).sum() for n in range(3)) / (12 - 3)
    assert means.var(ddof=1) > within / 4  # else trainings would seem to change nothing
    assert found.images[0] == pytest.approx(score.var(ddof=1) / 12)
    assert found.seeds[0] == pytest.approx((1 / 3 + 1 / 2) * (means.var(ddof=1) - within / 4))
    single = score.var(ddof=1) / 12 + 3 / 2 * (means.var(ddof=1) - within / 4)
    assert found.single[0] == pytest.approx(single)


def test_a_fold_that_is_hard_for_all_rows_is_no_difference_between_them() -> None:
    random = np.random.default_rng(0)
    fold = np.arange(300) % 5
    first, second = random.normal(0, 1, (2, 300))
    hard = 5.0 * fold
    plain, hardened = (
        contrasts_of(family_of([of_folds(one, fold), of_folds(two, fold)]), DIFFERENCE)
        for one, two in ((first, second), (first + hard, second + hard))
    )
    assert hardened.errors[0] == pytest.approx(plain.errors[0])
    alone = estimate(of_folds(first + hard, fold), "test_something")
    assert alone.seeds is not None
    assert alone.seeds > 10 * found_half_width(first, fold)


def found_half_width(scores: np.ndarray, fold: np.ndarray) -> float:
    half = estimate(of_folds(scores, fold), "test_something").seeds
    assert half is not None
    return half


def test_many_rows_know_together_how_much_trainings_change() -> None:
    random = np.random.default_rng(1)
    fold = np.arange(200) % 5
    rows = [of_folds(random.normal(0, 1, 200) + random.normal(0, 0.3, 5)[fold], fold)
            for _ in range(12)]  # fmt: skip
    pair = np.eye(12)[:1] - np.eye(12)[1:2]
    together, alone = (
        contrasts_of(family_of(rows), pair),
        contrasts_of(family_of(rows[:2]), DIFFERENCE),
    )
    assert together.freedom[0] > alone.freedom[0]


def test_rows_that_trainings_move_are_not_called_different() -> None:
    """Equal rows whose trainings move all images of a fold: the images alone see differences."""
    random = np.random.default_rng(2)
    fold = np.arange(300) % 5
    tables, false, by_images = 400, 0, 0
    for _ in range(tables):
        luck = random.normal(0, 0.4, (2, 5))[:, fold]
        hardness = random.normal(0, 1, 300)
        right = (hardness + luck + random.normal(0, 0.5, (2, 300)) > -0.8).astype(float)
        (one,) = compare([of_folds(own, fold, 1.0) for own in right], DIFFERENCE)
        false += one.shown
        by_images += stats.ttest_rel(right[0], right[1]).pvalue < LEVEL
    assert false / tables <= 0.05
    assert by_images / tables > 0.15


def written(folder: Path, seed: int, fold: int, index: np.ndarray, folds: int = 3) -> FinalRun:
    config = TrainConfig(seed=seed, folds=folds, fold=fold)
    run = Run.create(folder / config.id, config)
    probability = np.random.default_rng(seed).dirichlet(np.ones(3), 30)[index]
    label = index % 3
    np.savez(
        run.predictions_path("test"),
        index=index,
        label=label,
        log_probability=np.log(probability).astype(np.float32),
    )
    value = float((probability.argmax(1) == label).mean())
    return FinalRun(run, value, images=len(index), folds=folds, fold=fold)


def test_the_runs_of_a_row_are_put_together_fold_by_fold(tmp_path: Path) -> None:
    parts = [np.random.default_rng(5).permutation(30)[number::3] for number in range(3)]
    tested = [written(tmp_path, 10 + fold, fold, parts[fold]) for fold in (2, 0, 1)]
    found, problem = runs_of(tested, "test_accuracy")
    assert problem == ""
    np.testing.assert_allclose(found.values, [tested[n].value for n in (1, 2, 0)])
    assert found.scores is not None
    assert found.images is not None
    assert found.images.tolist() == list(range(30))
    assert found.folds is not None
    assert found.folds.of_image is not None
    for fold, part in enumerate(parts):
        own = np.isin(found.images, part)
        assert (found.folds.of_image[own] == fold).all()
        assert found.scores[0, own].mean() == pytest.approx(found.values[fold])
    assert (found.suffices, found.is_deterministic) == (True, False)

    # Of two runs of a fold, the mean counts; without a fold, the row is not known.
    again = written(tmp_path, 20, 0, parts[0])
    both, _ = runs_of([*tested, again], "test_accuracy")
    assert both.values[0] == pytest.approx((tested[1].value + again.value) / 2)
    assert not runs_of(tested[:2], "test_accuracy")[0].suffices

    # An image in two folds is none that was tested once; values alone can still be compared.
    wrong = [*tested[:2], written(tmp_path, 30, 1, parts[0])]
    found, problem = runs_of(wrong, "test_accuracy")
    assert found.scores is None
    assert problem.endswith("tested an image in two folds")
    missing = replace(tested[0], run=Run(tmp_path / "none"))
    assert runs_of([missing, *tested[1:]], "test_accuracy")[0].scores is None
