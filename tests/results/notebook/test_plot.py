"""Figures for notebooks show the numbers of the frames, and names as they are."""

import numpy as np
import pytest

import fieldtrial as ft
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.results.conftest import Written


def test_estimates_are_the_tables_means_the_best_first(complete: Written) -> None:
    own = ft.load(complete.folder.path)
    traces = ft.plot.estimates(own).data
    means = {place: x for trace in traces for place, x in zip(trace.y, trace.x, strict=True)}
    assert [means[place] for place in range(3)] == pytest.approx([60, 50, 40])
    first = next(trace for trace in traces if 0 in trace.y)
    low = first.x[0] - first.error_x.arrayminus[0]
    assert low == pytest.approx(100 * own.rows["test_accuracy_low"][0], abs=1e-3)


def test_curves_have_each_epoch_once_and_a_cross_where_one_was_stopped(
    reported: SweepFolder,
) -> None:
    own = ft.load(reported.path)
    *lines, crosses = ft.plot.curves(own).data
    searched = own.trials[own.trials["role"] == "search"]
    epochs = own.epochs[own.epochs["trial"].isin(searched["trial"])]
    drawn = [value for line in lines for value in line.y if value is not None]
    assert sorted(drawn) == pytest.approx(sorted(100 * epochs["validation_accuracy"]))
    assert len(crosses.x) == int((searched["outcome"] == "stopped").sum()) > 0
    loss = ft.plot.curves(own, "seconds", colour="outcome")
    assert {trace.name for trace in loss.data} >= {"finished", "stopped early"}


def test_the_best_so_far_and_the_front_are_those_of_the_trials(reported: SweepFolder) -> None:
    own = ft.load(reported.path)
    ended = own.trials[own.trials["role"].eq("search") & own.trials["outcome"].ne("failed")]
    most = 100 * ended["validation_accuracy"].max()
    best = ft.plot.over_time(own).data[0]
    assert best.name == "best so far"
    assert (np.diff(best.y) >= 0).all()
    assert best.y[-1] == pytest.approx(most, abs=0.01)
    front = ft.plot.cost(own, "minutes").data[-1]
    assert front.name == "Pareto front (1)"  # all of them took as long
    assert front.y == pytest.approx([most], abs=0.01)


def test_every_hyperparameter_has_a_slice_an_axis_and_its_importance(
    reported: SweepFolder,
) -> None:
    names = {"model", "freeze", "lr"}
    slices = ft.plot.slices(reported.path).layout
    titles = {slices[f"xaxis{end}"].title.text for end in ("", 2, 3)}
    assert titles == names
    axes = ft.plot.parallel(reported.path).data[0].dimensions
    assert {axis.label for axis in axes} == names | {"validation accuracy (%)"}
    assert {*ft.plot.importance(reported.path).data[0].y} == names


def test_a_rows_classes_are_drawn_from_its_predictions(reported: SweepFolder) -> None:
    matrix = ft.plot.confusion(reported.path).data[0]
    assert np.sum(matrix.z, axis=1) == pytest.approx(1)
    accuracies = ft.plot.class_accuracy(reported.path, row=1).data[0].x
    assert 60 < np.mean(accuracies) < 80  # 0.7 of the images are right
    assert len(ft.plot.roc(reported.path).data) == 3
    with pytest.raises(ValueError, match="row = 7: must be one with stored predictions: 0, 1, 2"):
        ft.plot.confusion(reported.path, row=7)


def test_a_strangers_names_are_shown_as_they_are(reported: SweepFolder) -> None:
    own = reported.path
    made = [getattr(ft.plot, name)(own).to_json() for name in ft.plot.__all__]
    assert len(made) == 11
    assert [page for page in made if "<img" in page or "<b>" in page] == []


def test_what_cannot_be_drawn_is_said(written: Written) -> None:
    path = written.describe().path
    written.waiting(0)
    assert all(getattr(ft.plot, name)(path).data == () for name in ("curves", "estimates", "roc"))
    assert ft.plot.over_time(path).layout.annotations[0].text == "No trial to show."
    written.ended(1, lr=0.2)
    with pytest.raises(ValueError, match="colour = 'colour': must be one of role, outcome, row"):
        ft.plot.over_time(path, colour="colour")
    with pytest.raises(ValueError, match=r"measure = 'gold': must be one of .*minutes"):
        ft.plot.cost(path, "gold")
