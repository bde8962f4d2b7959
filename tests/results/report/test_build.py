"""The report from files of every kind: what is in it, and what is said where there is little."""

import base64
import html
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fieldtrial.disk.files import write_json
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.report.build import render_report, write_report
from fieldtrial.results.report.command import main

if TYPE_CHECKING:
    from tests.results.conftest import Written


def data(page: str) -> Any:
    """Return what the page's scripts draw."""
    return json.loads(page.split('id="report-data">')[1].split("</script>", maxsplit=1)[0])


def texts(page: str) -> str:
    """Return what the page says without its scripts."""
    return html.unescape(
        re.sub(r"<[^>]*>", " ", page.split('<script type="application/json"', maxsplit=1)[0])
    )


def column(page: str, name: str) -> list[Any]:
    """Return a column of the list of trials, its categories as texts."""
    found = next(one for one in data(page)["columns"] if one["name"] == name)
    return (
        [found["levels"][value] for value in found["values"]]
        if "levels" in found
        else found["values"]
    )


def test_the_whole_sweep(complete: "Written") -> None:
    remark = "60 of 60 test images are among the training images too"
    for entry in complete.folder.trials():
        if entry["role"] == "final":
            inputs = {"cut": "content", "data": "1a2b", "remarks": [remark]}
            write_json(complete.folder.run(entry["trial"]).inputs_path, inputs)
    path = write_report(complete.folder)
    page = path.read_text()
    assert path == complete.folder.path / "report.html"
    assert page.count("plotly.js v") == 1
    assert texts(page).count(f"digits: {remark}.") == 1
    assert "http-equiv" in page
    assert not data(page)["live"]
    assert len(column(page, "trial")) == 15
    assert column(page, "role").count("final") == 9
    assert column(page, "row")[0] == "cnn · none"
    assert column(page, "validation_accuracy")[:2] == [0.85, 0.9]
    assert [row["label"] for row in data(page)["estimates"]] == [
        "cnn · none",
        "cnn · all_but_head",
        "mlp · none",
    ]
    assert (
        "cnn · none is the best on validation: test accuracy 60.00 % (95 % interval 54.95 to"
        " 64.84 %; n = 3). It is better than all 2 others" in texts(page)
    )
    assert data(page)["commandFile"] == "command.txt"


def test_energy_is_a_figure_where_trials_tell_it(complete: "Written") -> None:
    assert "kWh" not in texts(render_report(complete.folder))
    run = complete.folder.run(complete.trial(0, lr=0.01))
    told = {"energy_kwh": 0.125, "energy_shared": True}
    run.write_result((run.result() or {}) | told)
    page = render_report(complete.folder)
    remark = "of 1 trial: of GPUs or, without, of processors; others used the devices of 1, too"
    assert re.search(rf"kWh\s+0\.125\s+{remark}", texts(page))
    assert column(page, "energy_kwh").count(0.125) == 1


def test_what_is_not_shown_to_be_worse_is_set_off_in_table_and_figure(complete: "Written") -> None:
    for seed, test in enumerate(
        (0.45, 0.55, 0.70)
    ):  # of the second row now: too far apart to be told from the best
        run = complete.folder.run(complete.trial(1, lr=0.01 / 2, seed=100 + seed))
        run.write_result((run.result() or {}) | {"test_accuracy": test})
    page = render_report(complete.folder)
    set_off = re.findall(r'<td class="number best"[^>]*>(.*?)</td>', page)
    assert set_off == ["60.00 ± 4.97 (n=3) *", "56.67 ± 31.26 (n=3) *"]
    marks = {row["label"]: row["marked"] for row in data(page)["estimates"]}
    assert marks == {"cnn · none": True, "cnn · all_but_head": True, "mlp · none": False}
    assert "No difference is shown to cnn · all_but_head." in texts(page)
    assert "Bold, *: no comparison shows it to be beaten, so it may be the best." in texts(page)


def test_the_learning_curves_are_those_of_the_records(complete: "Written") -> None:
    curves = data(render_report(complete.folder))["curves"]
    metric = next(one for one in curves["metrics"] if one["name"] == "validation_accuracy")
    codes = np.frombuffer(base64.b64decode(metric["data"]), "<u2")
    values = metric["low"] + codes / 65534 * (metric["high"] - metric["low"])
    assert curves["first"] == list(range(0, 64, 4))  # 15 trials of 4 epochs
    assert values.reshape(15, 4) == pytest.approx(np.tile([0, 0.1, 0.2, 0.3], (15, 1)), abs=1e-4)
    assert (curves["start"], curves["epoch"]) == ([0] * 15, "")


def test_the_best_of_fewer_trials_is_drawn(reported: SweepFolder) -> None:
    page = render_report(reported)
    budget = data(page)["budget"]
    assert [line["label"].split(" · ")[0] for line in budget["lines"]] == ["cnn", "cnn", "mlp"]
    rows = zip(
        *(column(page, name) for name in ("row", "role", "validation_accuracy")), strict=True
    )
    known = [
        value for row, role, value in rows if (row, role) == ("cnn · none", "search") and value
    ]
    assert len(known) == 12
    drawn = [*known, min(known)]  # one has diverged
    pairs = itertools.combinations(drawn, 2)
    wanted = [np.mean(drawn), np.mean([max(pair) for pair in pairs]), max(drawn)]
    first = budget["lines"][0]
    assert first["trials"] == list(range(1, 14))
    found = [first["best"][place] for place in (0, 1, 12)]
    assert found == pytest.approx([100 * value for value in wanted], rel=1e-4)


def test_epochs_that_are_missing_are_told(written: "Written") -> None:
    written.describe()
    run = written.waiting(0)
    with run.recorder(1) as writer:
        for epoch in (0, 1, 3):
            writer.write({"epoch": epoch, "seconds": 1.0, "validation_accuracy": 0.5})
    curves = data(render_report(written.folder))["curves"]
    assert np.frombuffer(base64.b64decode(curves["epoch"]), "<i4").tolist() == [0, 1, 3]


def test_a_sweep_without_any_trial(written: "Written") -> None:
    page = render_report(written.describe())
    assert "No row has been tested yet" in texts(page)
    assert "No trial has been started." in texts(page)
    assert data(page)["live"]
    assert column(page, "trial") == []


def test_a_single_trial(written: "Written") -> None:
    written.describe(rows=[{"model": "cnn"}], search={}, seeds=0)
    written.ended(0)
    page = render_report(written.folder)
    assert data(page)["hyperparameters"] == []
    assert data(page)["importance"]["note"] == "No hyperparameter differs between the trials."
    assert "1 trial and 0 fresh seeds for each" in texts(page)
    assert len(column(page, "trial")) == 1


def test_a_repeated_search_is_a_column(complete: "Written") -> None:
    assert "search" not in {one["name"] for one in data(render_report(complete.folder))["columns"]}
    complete.describe(searches=2, finalists=2)
    complete.ended(0, search=1, lr=0.05, seed=1000)
    complete.ended(0, "finalist", search=1, lr=0.05, seed=1500)
    page = render_report(complete.folder)
    assert column(page, "search") == [0] * 15 + [1] * 2
    assert column(page, "role")[-1] == "finalist"
    assert "2 searches of 2 trials, 2 finalists and 3 fresh seeds for each" in texts(page)
    assert "7 search (7 finished), 9 final (9 finished), 1 finalist (1 finished)." in texts(page)


def test_hyperparameters_that_are_constant_are_listed_apart(complete: "Written") -> None:
    page = render_report(complete.folder)
    assert "epochs" not in {one["name"] for one in data(page)["columns"]}
    assert re.search(
        r"fields that are the same in all trials.*optimizer\s+adamw", texts(page), re.DOTALL
    )


def test_metrics_that_are_no_numbers(written: "Written") -> None:
    written.describe()
    run = written.ended(0, lr=0.1)
    written.ended(0, validation=0.7, lr=0.2)
    path = run.path / "result.json"
    path.write_text(
        path.read_text().replace('"validation_accuracy": 0.5', '"validation_accuracy": NaN')
    )
    with (run.path / "metrics-1.jsonl").open("a") as file:
        file.write(
            '{"epoch": 9, "validation_accuracy": NaN, "time": 1.0, "seconds": 1.0}\n{"epoch": 10,'
            ' "valida'
        )
    page = render_report(written.folder)
    assert column(page, "validation_accuracy") == [None, 0.7]
    assert "NaN" not in page.split('id="report-data">')[1].split("</script>")[0]


def test_directories_that_cannot_be_read_are_counted(complete: "Written") -> None:
    broken, newer = (complete.folder.run(complete.trial(0, lr=lr)) for lr in (0.1, 0.01))
    (broken.path / "config.json").unlink()
    config = json.loads((newer.path / "config.json").read_text())
    (newer.path / "config.json").write_text(json.dumps(config | {"field_of_a_later_version": 1}))
    page = render_report(complete.folder)
    assert column(page, "outcome").count("unreadable") == 2
    assert "2 of 15 trials have failed" in texts(page)
    assert "unknown field 'field_of_a_later_version'" in texts(page)
    assert "no such file" in texts(page)


def test_predictions_that_are_damaged_are_told(reported: SweepFolder) -> None:
    final = next(entry for entry in reported.trials() if entry["role"] == "final")
    path = Path(reported.run(final["trial"]).predictions_path("test"))
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    try:
        page = render_report(reported)
    finally:
        path.write_bytes(kept)
    assert f"{path}: not whole predictions" in texts(page)
    assert [row["runs"] for row in data(page)["classes"]["rows"]] == [2, 3, 3]


def test_the_classes_are_counted_over_all_runs(reported: SweepFolder) -> None:
    row = data(render_report(reported))["classes"]["rows"][0]
    assert row["names"] == ["daisy", "rose", "</script><b>tulip"]
    assert np.sum(row["confusion"]) == row["images"] == 180
    assert row["accuracy"] == pytest.approx(
        [line[at] / sum(line) for at, line in enumerate(row["confusion"])], abs=1e-5
    )
    assert all(0.5 < curve["auc"] <= 1 for curve in row["roc"])


def test_texts_cannot_leave_their_place(reported: SweepFolder) -> None:
    page = render_report(reported)
    assert page.count("</script>") == 3
    assert "<img" not in page
    assert "<b>tulip" not in page


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing", None, "sweep.json: no such file"),
        ("empty", '{"rows": []}', "lacks name, base, search"),
        ("broken", "{", "not a JSON file"),
    ],
)
def test_what_is_no_sweep_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "sweep.json").write_text(content)
    assert main([str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
