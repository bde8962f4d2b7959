"""The report of a sweep: one HTML file that opens offline, from the sweep's files alone.

Runs of no sweep have a report of their own.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from fieldtrial.command_line import ELSEWHERE
from fieldtrial.disk.files import may_only_read, write_atomically
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import is_share
from fieldtrial.fields.task_metrics import WITH_CLASSES
from fieldtrial.results.analysis.groups import Groups
from fieldtrial.results.analysis.importance import rank_hyperparameters
from fieldtrial.results.read.sweeps import Sweeps, places, read_each, read_sweep
from fieldtrial.results.read.trials import FAILED
from fieldtrial.results.report import data as report_data
from fieldtrial.results.report.answers.sections import SECTIONS, answers_section
from fieldtrial.results.report.cautions import on_data
from fieldtrial.results.report.environment import environments, failures, log_files, read_attempts
from fieldtrial.results.report.findings import findings
from fieldtrial.results.report.page import render_page
from fieldtrial.results.report.pictures import read_pictures
from fieldtrial.results.report.table import estimates, facts, html_table, pairs_table
from fieldtrial.results.report.tested import ComparedRows
from fieldtrial.results.table.further import OF_TRAINING, kept_epochs
from fieldtrial.results.table.tables import sweep_table

MOST_AXES = 10  # of the parallel coordinates
SPARE_BYTES = 100_000_000  # left for the trials on a disk that fills up
CHARTS = {
    "created": (
        "Over time",
        "What each search trial reached, by when it began; the line is the best so far.",
    ),
    "parallel": (
        "Parallel coordinates",
        (
            "A line is a trial. Drag along an axis to choose a range of it, click the axis to let"
            " go; with the keyboard, Tab to an end of an axis, arrow keys move it, Escape lets go."
            " Trials without a value run below the axes."
        ),
    ),
    "importance": (
        "What matters",
        (
            "How much of the variance of the result each hyperparameter explains by itself, beside"
            " its rank correlation."
        ),
    ),
    "curves": (
        "Learning curves",
        "A line is a trial; a cross is where it was stopped early. Epoch 0 is before any training.",
    ),
    "slices": ("Slices", "Each hyperparameter against the result, whatever the others were."),
    "cost": (
        "What a better result costs",
        "The Pareto front joins the trials that nothing beats at the same or a lower cost.",
    ),
    "budget": (
        "Search budget",
        (
            "The best validation result that a row is expected to have found with fewer of its"
            " search trials: the mean over all choices of that many (Dodge et al. 2019, in the"
            " unbiased form of Tang et al. 2020). It assumes that trials are drawn independently of"
            " each other. Those of a search are not: its later trials are better for having seen"
            " the earlier ones, so a shorter search is likely to have found less than a line"
            " says. A trial that was stopped early has its best so far, a diverged one the worst"
            " value of its row; trials that failed otherwise are left out. Of a row that was"
            " searched several times, this is one search."
        ),
    ),
    "classes": ("Classes", "Each row's winner on test, all its tested runs together."),
    "labels": ("Labels", "Each row's winner on test: the means over its tested runs."),
    "numbers": ("Predictions", "Each row's winner on test, all its tested runs together."),
}


def write_reports(path: Path, output: Path | None = None) -> tuple[list[Path], list[str]]:
    """Write the report of each sweep in the folder, and of its runs of no sweep.

    output: the folder for it instead of the sweep's; of several reports, a folder in it for each.

    Returns the reports' paths, and lines on sweeps that cannot be read.

    Raises as `write_report` and `read_each` do, and ValueError if the folder is a run.
    """
    parts, problems = read_each(path)
    folders = [folder for part in parts for folder in part.folders.values()]
    if not output and not all(folder.is_kept for folder in folders):
        raise ValueError(f"{path}: is a single run; name the folder that it is in")
    outputs = [output] * len(parts)
    if output and len(parts) > 1:
        outputs = [output / place for place in places(folders)]
    return [_write(part, one) for part, one in zip(parts, outputs, strict=True)], problems


def write_report(folder: SweepFolder, output: Path | None = None) -> Path:
    """Write the report into the sweep's folder, whole or not at all, and return its path.

    output: the folder for it instead of the sweep's.

    Raises:
        FileNotFoundError: it is not a sweep's folder.
        ValueError: the sweep has no rows, or its description cannot be read.
        OSError: the disk is all but full, or cannot be written to.
    """
    return _write(read_sweep(folder), output)


def _write(sweeps: Sweeps, output: Path | None) -> Path:
    (folder,) = sweeps.folders.values()
    page = _render(sweeps, output).encode()
    target = SweepFolder(output) if output else folder
    target.path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.path).free
    if free < len(page) + SPARE_BYTES:
        raise OSError(
            f"{target.path}: {free:,} bytes are free, too few for a report beside the trials"
        )
    try:
        write_atomically(target.report_path, page)
    except OSError as error:
        if not may_only_read(error):
            raise
        raise PermissionError(f"{error}; {ELSEWHERE}") from None
    return target.report_path.path


def render_report(folder: SweepFolder, output: Path | None = None) -> str:
    """Return the report of the sweep in `folder` as HTML. Raises as `write_report` does.

    output: the folder that the report will be in, from which its links lead to the runs' files.
    """
    return _render(read_sweep(folder), output)


def _render(sweeps: Sweeps, output: Path | None = None) -> str:
    started = time.monotonic()
    description, (folder,) = sweeps.only, sweeps.folders.values()
    trials, records = next(iter(sweeps.frames.values())), sweeps.records()
    table = sweep_table(sweeps, records)
    kept = kept_epochs(sweeps.trials, records)
    of_training = kept.reset_index(level=0, drop=True).reindex(trials["trial"])
    trials = trials.assign(**{str(name): of_training[name].to_numpy() for name in kept})
    tested = ComparedRows(table.groups, description.labels)
    attempts = read_attempts(folder, trials)
    logs = log_files(folder, attempts)
    select = description.select
    columns = report_data.columns(trials, description, report_data.created(records))
    tuned = report_data.hyperparameters(trials, description)
    by_name = {column["name"]: column for column in columns}
    searched = report_data.ended(trials, select)
    importance = rank_hyperparameters(
        [by_name[name] for name in tuned], trials[select].where(trials.index.isin(searched.index))
    )
    section, answers, unreadable = answers_section(folder, tested)
    own = (tested.labels, tested.runs, tested.best_first)
    can_be_drawn = description.base.task in WITH_CLASSES  # see insight/subject
    pictures = read_pictures(folder, trials, *own) if can_be_drawn else None
    has_result = [select] if select in by_name else []
    axes = [*dict.fromkeys([*importance.names, *tuned])][:MOST_AXES]
    data = {
        "columns": columns,
        "select": select,
        "selectLabel": report_data.label(select),
        "testLabel": report_data.label(tested.metric),
        "mode": description.mode,
        "live": _is_live(table.groups),
        "hyperparameters": tuned,
        "searched": [name for name in description.search if name in by_name],
        "colours": _colours(by_name, description, importance.names),
        "filter": (
            "role=search" if len(trials) > len(trials[trials["role"] == "search"]) > 0 else ""
        ),
        "rowFields": description.labels_head.removesuffix("row"),
        "listed": _listed(by_name, description, select, tested.metric),
        "parallel": [*(name for name in tuned if name in axes), *has_result],
        "parallelLeftOut": [name for name in tuned if name not in axes],
        "importance": asdict(importance),
        "curves": report_data.curves(trials, records, select),
        "budget": report_data.budget(table.groups, tested.labels),
        "estimates": estimates(tested, table.ensemble),
        "markedLabel": "may be the best: not shown to be beaten",
        "answers": section,
        **({section: {"rows": answers}} if section else {}),
        "folder": _address(folder, output),
        "places": [*map(folder.place_of, trials["trial"])] if folder.is_sharded else None,
        "commandFile": _command_file(folder),
        "logs": report_data.category("log", [logs.get(trial, "") for trial in trials["trial"]]),
    }
    texts = {
        "name": description.name,
        "folder": data["folder"],
        "byline": _byline(table.groups, trials),
        "facts": facts(tested, sweeps.trials, records, description),
        "findings": [
            *findings(tested, importance, description.search),
            *on_data(sweeps.folders, tested),
        ],
        "caption": table.grid.caption,
        "table": html_table(table.grid),
        "pairs": pairs_table(tested),
        "unit": ", in points" if is_share(tested.metric) else "",
        "example": _example(by_name, description, select),
        "begins": "; at first, those of the search" if data["filter"] else "",
        "constants": report_data.constants(trials),
        "charts": _charts(section),
        "pictures": pictures,
        "failures": failures(folder, trials, logs),
        "environments": environments(attempts),
        "notes": [*table.grid.footer, *unreadable],
        "colophon": (
            f"Made by Fieldtrial from the files in {folder.path} in"
            f" {time.monotonic() - started:.1f} s."
        ),
    }
    return render_page({**texts, "sections": _sections(texts)}, data)


def _charts(section: str) -> list[dict[str, str]]:
    """Return the page's charts; of those in SECTIONS, only `section`."""
    return [
        {"id": name, "title": title, "lead": lead}
        for name, (title, lead) in CHARTS.items()
        if name not in SECTIONS or name == section
    ]


def _sections(texts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the ids and titles of the sections that the page has, in order."""
    return [
        ("findings", "What the table says"), ("table", "The table"),
        *([("pairs", "Every pair")] if texts["pairs"] else []), ("trials", "Trials"),
        *((chart["id"], chart["title"]) for chart in texts["charts"]),
        *([("pictures", "Pictures")] if texts["pictures"] else []),
        ("failures", "Failures"), ("environment", "Environment"),
    ]  # fmt: skip


def _is_live(groups: Groups) -> bool:
    return any(group.note for group in groups.groups)


def _byline(groups: Groups, trials: pd.DataFrame) -> str:
    ended = int((~trials["outcome"].isin(("running", "waiting"))).sum())
    moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    state = "not all of its rows are complete" if _is_live(groups) else "complete"
    failed = int(trials["outcome"].isin(FAILED).sum())
    return f"Written {moment}: {state}; {counted(ended)} ended, {failed:,} of them failed."


def _address(folder: SweepFolder, output: Path | None) -> str:
    """Return what the links to files of runs start with, in a report in `output`."""
    if output is None:
        return ""
    return quote(os.path.relpath(folder.path.resolve(), output.resolve())) + "/"


def _command_file(folder: SweepFolder) -> str:
    """Return the name that the file with a run's command has in its directory."""
    run = Run(folder.path)
    return run.command_path.path.relative_to(run.path).as_posix()


def _colours(
    columns: Mapping[str, Any], description: SweepDescription, ranked: Sequence[str]
) -> list[str]:
    """Return what points may be coloured by: compared fields by importance, outcome and role."""
    compared = description.compared
    wanted = dict.fromkeys(
        (*(name for name in ranked if name in compared), *compared, "outcome", "role")
    )
    return [name for name in wanted if name in columns]


def _listed(
    columns: Mapping[str, Any], description: SweepDescription, select: str, test: str
) -> list[str]:
    compared = description.compared
    wanted = [
        "trial",
        *compared,
        select,
        test,
        *description.search,
        *OF_TRAINING,
        "outcome",
        "role",
        "seed",
        "best_epoch",
        "epochs_recorded",
    ]
    wanted += ["minutes", "parameters", "trainable_parameters", "created"]
    return [name for name in dict.fromkeys(wanted) if name in columns]


def _example(columns: Mapping[str, Any], description: SweepDescription, select: str) -> str:
    """Return a filter that fits this sweep."""
    parts = []
    for name in description.compared:
        levels = columns[name].get("levels", []) if name in columns else []
        if levels and " " not in levels[0]:
            parts.append(f"{name}={levels[0]}")
            break
    if select in columns and any(value is not None for value in columns[select]["values"]):
        known = [value for value in columns[select]["values"] if value is not None]
        middle = sorted(known)[len(known) // 2] * columns[select]["scale"]
        parts.append(f"{select}{'>' if description.mode == 'max' else '<'}{middle:.2g}")
    return " ".join(parts) or "outcome=finished"
