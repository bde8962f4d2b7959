"""TrainConfig: the configuration of one trial, checked when it is built."""

import argparse
import difflib
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from fieldtrial.fields.former import FORMER
from fieldtrial.fields.groups.data import DataFields
from fieldtrial.fields.groups.model import ModelFields
from fieldtrial.fields.groups.optimisation import OptimisationFields
from fieldtrial.fields.groups.run import RunFields
from fieldtrial.fields.identity import OPTIONS, Identity
from fieldtrial.fields.options import Options, carried_over, option_problems
from fieldtrial.fields.rules import CONFLICTING, RULES, conflicts
from fieldtrial.fields.task_metrics import classes_problem, criteria, select_problems
from fieldtrial.fields.values import check_bounds, check_type, format_value, is_same, parse
from fieldtrial.own.find import meant
from fieldtrial.own.names import KINDS, is_option, own_parts


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

    options: those of own parts, by dotted names: {"model.width": 2}. Each is also a field of this
    name, for `from_dict`, rows and search; where a config has none of it, it is None.

    `fieldtrial.effects` says which values of other fields a field needs to have an effect.

    Raises:
        ConfigError: values of the wrong type, out of bounds or not among the choices, all at once.
    """

    options: Mapping[str, Any] = Options()

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
                problems.append(_refused(name, getattr(self, name), error))
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
            if self.task != FIELDS["task"].default and self.select == FIELDS["select"].default:
                # Whoever set it cannot have meant it: no other task has this metric.
                object.__setattr__(self, "select", criteria(self.task)[0])
            problems += select_problems(self.task, self.select)
        if refused.isdisjoint(("task", "classifier")) and self.classifier == "svm":
            why = classes_problem(self.task, "a support vector machine")
            problems += [f"classifier = 'svm': {why}"] if why else []
        problems += self._settle_options()
        if problems:
            raise ConfigError(problems)

    def _settle_options(self) -> list[str]:
        """Make `options` of its type, and return a line for each thing that is wrong with it."""
        if not isinstance(self.options, Options):
            try:
                if not isinstance(self.options, Mapping):
                    raise ValueError(f"options = {self.options!r}: must be a table of options")
                object.__setattr__(self, OPTIONS, Options(self.options))
            except ValueError as error:
                object.__setattr__(self, OPTIONS, Options())
                return str(error).splitlines()
        return option_problems(self) if self.options else []

    if not TYPE_CHECKING:  # a misspelt field is an error of types

        def __getattr__(self, name: str) -> Any:
            if is_option(name):
                return self.options.get(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def options_of(self, kind: str) -> dict[str, Any]:
        """Return the options of the own parts of a kind, without the kind: {"width": 2}."""
        return Options(self.options).of(kind)

    @property
    def own_parts(self) -> dict[str, tuple[str, ...]]:
        """The names of the own parts by their kinds; empty where the config has none."""
        return own_parts(self)

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
        given = {name: value for name, value in values.items() if is_option(name)}
        problems = [
            unknown_field(name)
            for name in values
            if name not in HINTS and name not in given and name != OPTIONS
        ]
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
                problems.append(_refused(name, value, error))
        try:
            options = _merged(base or DEFAULTS, known, values.get(OPTIONS, {}), given)
            config = cls(**{name: start[name] for name in HINTS} | known, options=options)
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
        plain, options = (
            {name: list(one) if isinstance(one, tuple) else one for name, one in values}
            for values in (((name, vars(self)[name]) for name in HINTS), self.options.items())
        )
        return plain | ({OPTIONS: options} if options else {})

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
        return cls.from_dict({name: v for name, v in vars(flags).items() if is_field(name)}, base)


# `options` is none of them: it holds fields of its own, and `is_field` knows these, too.
FIELDS = {item.name: item for item in fields(TrainConfig) if item.name != OPTIONS}


HINTS: dict[str, Any] = {
    name: typing.get_type_hints(TrainConfig, include_extras=True)[name] for name in FIELDS
}


def is_field(name: str) -> bool:
    """Return whether `name` is a field, or may be an option of an own part, which is one too."""
    return name in FIELDS or is_option(name)


def field_names(configs: Iterable[TrainConfig]) -> list[str]:
    """Return all fields, and after them the options that one of the configs has."""
    return [*FIELDS, *sorted({name for config in configs for name in config.options})]


def typed_values(values: Mapping[str, object]) -> dict[str, Any]:
    """Return config fields with values of their types. Raises ValueError with value and rule."""
    typed = {}
    for name, value in values.items():
        if not is_field(name):
            raise ValueError(unknown_field(name))
        if name not in HINTS:  # an option: from_dict checks it
            typed[name] = tuple(value) if isinstance(value, list) else value
            continue
        try:
            hint, is_text = HINTS[name], isinstance(value, str)
            typed[name] = parse(str(value), hint) if is_text else check_type(value, hint)
        except ValueError as error:
            raise ValueError(_refused(name, value, error)) from None
    return typed


def _refused(name: str, value: object, error: ValueError) -> str:
    """Return the problem with a field's value, and what may have been meant."""
    return f"{name} = {value!r}: {error}{meant(value) if name in KINDS else ''}"


def _merged(
    base: TrainConfig, known: Mapping[str, Any], options: object, given: Mapping[str, Any]
) -> Options:
    """Return the options of a config: the base's that stay, then `options`, then single ones.

    known: the fields that differ from the base's. Raises ConfigError.
    """
    if not isinstance(options, Mapping):
        raise ConfigError([f"options = {options!r}: must be a table of options"])
    if not options and not given and not base.options:
        return Options()
    try:
        return Options({**carried_over(base, known), **options, **given})
    except ValueError as error:
        raise ConfigError(str(error).splitlines()) from None


def unknown_field(name: str) -> str:
    """Return the message about a field that does not exist, with the nearest name, or all."""
    close = difflib.get_close_matches(name, FIELDS, n=1)
    return f"unknown field {name!r}" + (
        f"; did you mean {close[0]!r}?" if close else f"; fields: {', '.join(FIELDS)}"
    )


DEFAULTS = TrainConfig()
# What a file of an earlier version means where it lacks a field.
EARLIER = TrainConfig(**FORMER)
