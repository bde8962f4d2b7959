"""The report's section on what winners answered, for each kind of answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.answers import Answers, StoredLabels, StoredNumbers, load_answers
from fieldtrial.results.read.predictions import StoredPredictions
from fieldtrial.results.report.answers.classes import class_row
from fieldtrial.results.report.answers.labels import label_row
from fieldtrial.results.report.answers.numbers import number_row
from fieldtrial.results.report.tested import ComparedRows

# From the answers of a row's final runs to what is drawn of them; None: nothing is.
Draw = Callable[[Sequence[Any]], dict[str, Any] | None]
CLASSES = "classes"
KINDS: Mapping[type[Any], tuple[str, Draw]] = {
    StoredPredictions: (CLASSES, class_row),
    StoredLabels: ("labels", label_row),
    StoredNumbers: ("numbers", number_row),
}
SECTIONS = tuple(name for name, _ in KINDS.values())


def answers_section(
    folder: SweepFolder, tested: ComparedRows
) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Return the section, what it draws for each row with stored answers, and what is left out.

    The row with the best mean comes first. The section is "" where there is nothing to draw.
    """
    section, rows, left_out = "", list[dict[str, Any]](), list[str]()
    for number in tested.best_first:
        runs: list[Answers] = []
        for trial in tested.groups[number].finals["trial"]:
            try:
                made = load_answers(folder.run(trial))
            except FileNotFoundError:
                continue  # of before predictions were stored, or removed to save space
            except ValueError as error:
                left_out.append(str(error))
                continue
            runs += [made] if made else []
        runs = [one for one in runs if _kind(one) == _kind(runs[0])]
        if not runs:
            continue
        name, draw = KINDS[type(runs[0])]
        drawn = draw(runs)
        if drawn and section in ("", name):
            section = name
            rows.append({"label": tested.labels[number], "runs": len(runs), **drawn})
    return section, rows, left_out


def _kind(made: Answers) -> tuple[object, ...]:
    return type(made), made.class_names
