"""What the rows' numbers were made with: initial weights, their data, images, validation."""

from collections.abc import Callable, Sequence

import pandas as pd

from fieldtrial.fields.printable import counted
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.read.wording import few

# Entries of result.json that say it in words.
WEIGHTS, DATA, HOW = "initial_weights", "pretraining_data", "pretraining_recipe"
IMAGES = "recipe"
WIDTH = "head_width"  # a number: see training.models.library.heads
RECIPES = (WEIGHTS, DATA, HOW, IMAGES)
MOST_NAMED = 4  # rows, or kinds of weights, that a line names
FEW_IMAGES = 50  # of validation: a share of 0.8 of them has a standard error of 6 points

Label = Callable[[Group], str]


def said(group: Group, name: str) -> str | None:
    """Return an entry of the results of the group's winner, else of its trials; None without."""
    known = [group.winner.get(name)] if group.winner else []
    known += list(group.trials[name]) if name in group.trials else []
    return next((str(value) for value in known if value is not None and not pd.isna(value)), None)


def differing(groups: Sequence[Group]) -> list[str]:
    """Return which of RECIPES differ between the groups that have them."""
    return [
        name
        for name in RECIPES
        if len({text for group in groups if (text := said(group, name))}) > 1
    ]


def recipe_lines(groups: Sequence[Group], label: Label) -> list[str]:
    """Return lines on the weights that rows start from, and on how images became squares."""
    lines = []
    weights = _by(groups, WEIGHTS, label)
    if weights:
        kinds = [
            f"{text} (pretrained on: {said(first, DATA) or 'not said'}; recipe:"
            f" {said(first, HOW) or 'not said'})"
            for text in weights
            for first in [next(one for one in groups if said(one, WEIGHTS) == text)]
        ]
        lines.append(f"Initial weights: {few(kinds, MOST_NAMED)}.")
    images = _by(groups, IMAGES, label)
    if len(images) > 1 or (images and weights):
        kinds = list(images)
        texts = kinds if len(kinds) == 1 else [f"{text} ({images[text]})" for text in kinds]
        lines.append(f"Images: {'; '.join(texts)}.")
    return lines + warnings(groups, label)


def warnings(groups: Sequence[Group], label: Label) -> list[str]:
    """Return lines on what a comparison is also of, and on validation with few images."""
    lines = []
    for name, what in ((DATA, "data"), (HOW, "recipes")):
        kinds = _by(groups, name, label)
        if len(kinds) > 1:
            each = "; ".join(f"{text}: {rows}" for text, rows in kinds.items())
            lines.append(
                f"The rows' initial weights were pretrained {'on' if what == 'data' else 'by'}"
                f" different {what} ({each}). So a difference between rows may be one of these"
                f" {what}."
            )
    wide = {label(group): width for group in groups if (width := said(group, WIDTH))}
    if wide:
        first, more = next(iter(wide)), len(wide) - 1
        lines.append(
            f"The library draws the last layer of {first}{f' and {more} more' if more else ''}"
            f" {float(wide[first]):.0f} times as wide as PyTorch would, because the classes are"
            " few: the loss starts high, and a small learning rate takes long to mend it."
        )
    few = sorted(
        {
            int(count)
            for group in groups
            if "validation_images" in group.trials
            for count in group.trials["validation_images"].dropna()
            if count < FEW_IMAGES
        }
    )
    if few and (picks := _picks(groups)):
        lines.append(
            f"{picks} chosen by only {counted(few[0], 'validation image')}: that is mostly luck. A"
            " larger validation_fraction, or select = last, helps."
        )
    return lines


def _picks(groups: Sequence[Group]) -> str:
    """Return what validation chooses, with a verb; empty if it chooses nothing."""
    keeps_last = all(_keeps_last(group.trials) for group in groups)
    searched = any(group.count("search") > 1 for group in groups)
    parts = [] if keeps_last else ["The epoch of each trial"]
    parts += [f"{'and the' if parts else 'The'} winner"] if searched else []
    return f"{' '.join(parts)} {'are' if len(parts) > 1 else 'is'}" if parts else ""


def _keeps_last(trials: pd.DataFrame) -> bool:
    """Return whether no epoch was chosen: all kept their last, or had none, as support vectors."""
    chosen = (trials["select"] != "last") & (trials["classifier"] != "svm")
    return not chosen[trials["select"].notna()].any()


def _by(groups: Sequence[Group], name: str, label: Label) -> dict[str, str]:
    """Return the groups' values of an entry, and for each the rows that have it."""
    rows: dict[str, list[str]] = {}
    for group in groups:
        if text := said(group, name):
            rows.setdefault(text, []).append(label(group))
    return {text: few(own, MOST_NAMED) for text, own in rows.items()}
