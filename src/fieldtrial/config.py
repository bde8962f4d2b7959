"""TrainConfig: the configuration of one trial, checked when it is built."""

import argparse
import difflib
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fieldtrial.fields.former import FORMER
from fieldtrial.fields.groups.data import DataFields
from fieldtrial.fields.groups.model import ModelFields
from fieldtrial.fields.groups.optimisation import OptimisationFields
from fieldtrial.fields.groups.run import RunFields
from fieldtrial.fields.identity import Identity
from fieldtrial.fields.rules import CONFLICTING, RULES, conflicts
from fieldtrial.fields.task_metrics import classes_problem, select_problems
from fieldtrial.fields.values import check_bounds, check_type, format_value, is_same, parse


class ConfigError(ValueError):
    """One or more values that are not allowed; the message has a line for each problem."""

    def __init__(self, problems: list[str], where: str = "") -> None:
        self.problems = problems
        super().__init__(
            "\n".join(f"{where}: {problem}" if where else problem for problem in problems)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainConfig(RunFields, OptimisationFields, ModelFields, DataFields, Identity):
    """The configuration of one trial: data, model and training, and nothing about the machine.

    `fieldtrial.effects` says which values of other fields a field needs to have an effect.

    Raises:
        ConfigError: values of the wrong type, out of bounds or not among the choices, all at once.
    """

    def __post_init__(self) -> None:
        problems: list[str] = []
        refused: set[str] = set()
        for name, hint in HINTS.items():
            if vars(self)[name] is FIELDS[name].default:
                continue  # a test checks the defaults; tables build thousands of configs
            try:
                value = check_type(getattr(self, name), hint)
                check_bounds(value, FIELDS[name].metadata["low"], FIELDS[name].metadata["high"])
                for holds, rule in RULES.get(name, ()):
                    if not holds(value):
                        raise ValueError(rule)
                object.__setattr__(self, name, value)
            except ValueError as error:
                problems.append(f"{name} = {getattr(self, name)!r}: {error}")
                refused.add(name)
        problems += [
            f"{name} = {getattr(self, name)!r}: must be 1 or {self.blocks} numbers, because blocks"
            f" = {self.blocks}"
            for name in ("filters", "kernel_size")
            if refused.isdisjoint((name, "blocks"))
            and len(getattr(self, name)) not in (1, self.blocks)
        ]
        if refused.isdisjoint(CONFLICTING):
            problems += conflicts(self)
        if refused.isdisjoint(("task", "select")):
            problems += select_problems(self.task, self.select)
        if refused.isdisjoint(("task", "classifier")) and self.classifier == "svm":
            why = classes_problem(self.task, "a support vector machine")
            problems += [f"classifier = 'svm': {why}"] if why else []
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, object], base: "TrainConfig | None" = None, where: str = ""
    ) -> "TrainConfig":
        """Return `base` (None: the defaults) with `values` in place.

        Values come from JSON, a sweep's row or a command line: lists become tuples, and texts are
        parsed as flags are.

        Raises:
            ConfigError: unknown fields and bad values, all at once; each line starts with `where`.
        """
        problems = [unknown_field(name) for name in values if name not in HINTS]
        known: dict[str, Any] = {}
        start = vars(base or DEFAULTS)
        for name in (name for name in HINTS if name in values):
            value, there = values[name], start[name]
            if value == there and type(value) is type(there):
                continue
            if isinstance(value, list) and is_same(value, there):
                continue
            read: Callable[[Any, Any], Any] = parse if isinstance(value, str) else check_type
            try:
                known[name] = read(value, HINTS[name])
            except ValueError as error:
                problems.append(f"{name} = {value!r}: {error}")
        try:
            config = cls(**{name: start[name] for name in HINTS} | known)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems, where)
        return config

    def as_begun(self, earlier: "TrainConfig", given: Collection[str] = ()) -> "TrainConfig":
        """Return the config with `earlier`'s former defaults in the place of the present ones.

        given: fields that somebody has set, which stay.
        """
        former = self.former_defaults(earlier).items()
        return replace(self, **{name: value for name, value in former if name not in given})

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data, tuples as lists; config.json holds this."""
        return {
            name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in HINTS
        }

    def require(self, other: "TrainConfig", where: str) -> None:
        """Raise ConfigError unless `other` is equal: a line for each difference, after `where`."""
        if differing := self.differences(other).items():
            problems = [
                f"{name} is {own!r} there and {new!r} now" for name, (own, new) in differing
            ]
            raise ConfigError(problems, where)

    def to_flags(self) -> list[str]:
        """Return flags for the fields that differ from their defaults: ['--lr', '0.01']."""
        return [
            part
            for name in self.differences(DEFAULTS)
            for part in (f"--{name}", format_value(getattr(self, name)))
        ]

    @classmethod
    def from_flags(
        cls, flags: argparse.Namespace, base: "TrainConfig | None" = None
    ) -> "TrainConfig":
        """Return `base` with the flags that `add_flags` declared in place. Raises ConfigError."""
        return cls.from_dict({name: v for name, v in vars(flags).items() if name in HINTS}, base)


FIELDS = {item.name: item for item in fields(TrainConfig)}


HINTS: dict[str, Any] = {name: typing.get_type_hints(TrainConfig)[name] for name in FIELDS}


def unknown_field(name: str) -> str:
    """Return the message about a field that does not exist, with the nearest name, or all."""
    close = difflib.get_close_matches(name, FIELDS, n=1)
    return f"unknown field {name!r}" + (
        f"; did you mean {close[0]!r}?" if close else f"; fields: {', '.join(FIELDS)}"
    )


DEFAULTS = TrainConfig()
# What a file of an earlier version means where it lacks a field.
EARLIER = TrainConfig(**FORMER)
