"""How a sweep stands: what is counted, how long the rest takes, and the panel."""

import io
import os
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task, TaskQueue
from fieldtrial.panel.render import render_panel, summary_line
from fieldtrial.panel.standing import (
    OUTCOMES,
    RowStanding,
    Standing,
    TrialStanding,
    last_end,
    runs_with_worker,
)
from fieldtrial.panel.terminal import clock

DONE, STOPPED, RUNNING = (
    TrialStanding(outcome, seconds, epoch=3, epochs=10)
    for outcome, seconds in (("finished", 60.0), ("stopped", 20.0), ("running", 10.0))
)
FIRST = RowStanding("sgd", [DONE, STOPPED, RUNNING], [], budget=4, seeds=1, best=0.9)
SECOND = RowStanding("adamw", [], [], budget=4, seeds=1, best=None)
STANDING = Standing(
    name="x",
    path="runs/x",
    head="optimizer",
    select="validation_accuracy",
    mode="max",
    rows=[FIRST, SECOND],
    since="0:01:00",
    device_hours=0.0251,
    slots=2,
)


def shown(standing: Standing, most_rows: int = 30, width: int = 160) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(render_panel(standing, most_rows))
    return output.getvalue()


def test_the_rest_takes_as_long_as_what_has_ended() -> None:
    # The first row's search has two trials of 40 s to come, of one of which 10 s are over, the
    # second's has four. Final runs begin when their row's search is over, and take the 60 s of the
    # finished trial. Two run at a time:
    #   30 sgd, 70 adamw, 110 adamw, 170 sgd's final run
    #   40 sgd, 80 adamw, 120 adamw, 180 adamw's final run
    assert STANDING.seconds_left() == 180


def test_fewer_trials_than_there_is_room_for_take_as_long_as_the_longest() -> None:
    assert replace(STANDING, slots=100).seconds_left() == 40 + 60
    last = replace(FIRST, search=[DONE] * 4, finals=[RUNNING])
    assert replace(STANDING, rows=[last], slots=100).seconds_left() == 50
    source = replace(STANDING, rows=[last], slots=100, sources=[RUNNING])
    assert source.seconds_left() == 50 + 50, "the rows begin after their source"


def test_thousands_of_trials_are_shared_out_at_once() -> None:
    rows = [[[1.0] * 500, [2.0] * 5] for _ in range(20)]
    assert last_end(rows, 10) == 20 * 510 / 10


def test_nobody_knows_how_long_it_takes_before_the_first_end() -> None:
    assert replace(STANDING, rows=[SECOND]).seconds_left() is None
    assert replace(STANDING, slots=0).seconds_left() is None


def test_no_more_runs_of_finalists_have_ended_than_there_are_to_be() -> None:
    row = replace(FIRST, finalists=[DONE] * 5, finalist_runs=4)  # there were to be more once
    assert "5/5" in shown(replace(STANDING, rows=[row]))


def test_runs_of_finalists_are_counted_and_have_a_column_where_there_are_any() -> None:
    assert "finalists" not in shown(STANDING)
    chosen = replace(FIRST, finalists=[DONE, RUNNING], finalist_runs=6)
    assert chosen.counts == {"waiting": 2 + 4, "running": 2, "finished": 2, "stopped": 1}
    assert chosen.seconds_of("finished", "stopped") == [60.0, 20.0, 60.0]
    head, first, second = shown(replace(STANDING, rows=[chosen, SECOND])).splitlines()[4:7]
    assert head.split()[-2:] == ["finalists", "seeds"]
    assert first.split()[-3:] == ["90.00", "1/6", "0/1"]
    assert second.split()[-2:] == ["0/0", "0/1"]


def test_what_is_to_come_counts_as_waiting() -> None:
    assert FIRST.counts == {"waiting": 2, "running": 1, "finished": 1, "stopped": 1}
    assert FIRST.tested == 0
    over = replace(FIRST, search=[DONE, STOPPED], budget=2, finals=[DONE])
    assert (over.counts, over.tested) == ({"finished": 2, "stopped": 1}, 1)
    with_source = replace(STANDING, sources=[RUNNING])
    assert (with_source.expected, with_source.ended, with_source.counts["running"]) == (11, 2, 2)


def test_without_slots_as_many_run_as_now() -> None:
    assert replace(STANDING, slots=None).seconds_left() == 30 + 5 * 40 + 2 * 60


def test_while_jobs_are_waited_for_no_more_run_at_once_than_now() -> None:
    assert replace(STANDING, queued=1).seconds_left() == 30 + 5 * 40 + 2 * 60
    all_wait = replace(FIRST, search=[DONE, STOPPED])
    assert replace(STANDING, rows=[all_wait, SECOND], queued=2).seconds_left() is None


def test_the_panel_says_how_many_wait_for_jobs_and_why() -> None:
    head = shown(replace(STANDING, queued=2)).splitlines()[0]
    assert (
        head.rstrip()
        == "x  0:01:00  2 of 10 trials, 1 running, 2 waiting for jobs, 0 failed  ->  runs/x"
    )
    head = shown(replace(STANDING, queued=2, reasons=["Priority", "Resources"])).splitlines()[0]
    assert "1 running, 2 waiting for jobs (Priority, Resources), 0 failed" in head


def test_who_is_at_work_is_seen_in_the_queue(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    queue = TaskQueue(folder.queue_path)
    begun = ("claimed", "queued", "left")
    for name in begun:
        with folder.run(name).recorder(1):
            pass
    queue.open()
    queue.register("7", {})
    for name in ("claimed", "queued"):
        queue.put(Task(str(folder.path / name), 2))
        queue.claim("7")
    assert queue.claimed() == {"claimed-2.json": "7"}
    came = time.time() + 10
    assert runs_with_worker(folder, begun, came) == set(), "its second attempt has not begun"
    with folder.run("claimed").recorder(2):
        pass
    assert (
        runs_with_worker(folder, begun, came) == runs_with_worker(folder, begun) == {"claimed"}
    ), "whoever drives"


def test_a_drivers_own_workers_are_at_what_has_got_on_since_it_came(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for name in ("half_done", "resumed"):
        with folder.run(name).recorder(1):
            pass
        os.utime(tmp_path / name / "metrics-1.jsonl", (1000, 1000))
    begun = ("half_done", "resumed")
    assert runs_with_worker(folder, begun, 2000) == set(), "they wait for their turn"
    with folder.run("resumed").recorder(2):
        pass
    assert runs_with_worker(folder, begun, 2000) == {"resumed"}
    assert runs_with_worker(folder, begun) == set(), "there is no driver any more"


def test_the_panel_says_how_each_row_stands() -> None:
    lines = shown(STANDING).splitlines()
    assert lines[0].rstrip() == "x  0:01:00  2 of 10 trials, 1 running, 0 failed  ->  runs/x"
    assert lines[1].startswith(
        "best validation accuracy 90.00 % (sgd), 0.0251 device-hours, about 0:03:00 left"
    )
    assert lines[3].split() == ["best", "validation"]
    assert lines[4].split() == ["optimizer", *OUTCOMES, "epochs", "accuracy", "%", "seeds"]
    assert lines[5].split() == ["sgd", "2", "1", "1", "1", "0", "3/10", "90.00", "0/1"]
    assert lines[6].split() == ["adamw", "5", "0", "0", "0", "0", "0/1"]


def test_a_narrow_panel_keeps_names_and_results_and_gives_up_counters() -> None:
    name = "squeezenet1_1 · all_but_last:3 · sgd · 128"
    rows = [replace(FIRST, name=name, finalist_runs=6), SECOND]
    lines = shown(replace(STANDING, rows=rows), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    first = next(line for line in lines if line.startswith(name))  # not cut: counters give way
    assert first.split()[-3:] == ["3/10", "90.00", "0/1"]
    assert lines[-1].startswith("left out at this width: waiting")
    longest = shown(replace(STANDING, rows=[replace(FIRST, name=200 * "x")]), width=80)
    assert max(map(len, longest.splitlines())) <= 80
    assert "…" in longest
    assert ("90.00" in longest, "3/10" in longest) == (True, True)


def test_running_trials_show_their_epochs() -> None:
    assert SECOND.epochs == ""
    several = [replace(RUNNING, epoch=epoch, epochs=12) for epoch in (7, None, 4, 5)]
    assert replace(FIRST, search=[DONE, *several]).epochs == "4–7/12"
    assert replace(FIRST, search=[replace(RUNNING, epoch=None)]).epochs == ""


def test_rows_that_do_not_fit_are_counted() -> None:
    assert "and 1 more row" in shown(STANDING, most_rows=1)
    assert "adamw" not in shown(STANDING, most_rows=1)


def test_the_smaller_loss_is_the_best_so_far() -> None:
    rows = [replace(FIRST, best=0.3), replace(SECOND, best=0.2)]
    standing = replace(
        STANDING, select="validation_loss", mode="min", rows=rows, report="runs/x/report.html"
    )
    assert summary_line(standing).startswith("best validation loss 0.2000 (adamw), ")
    assert summary_line(standing).endswith(", report: runs/x/report.html")


def test_a_clock_counts_hours_on() -> None:
    assert clock(100 * 3600 + 61.5) == "100:01:01"
