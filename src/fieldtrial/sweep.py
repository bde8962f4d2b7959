"""Sweep: the rows of a table, what is searched inside each row, and the budget."""

import itertools
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ray import tune
from ray.tune.search.sample import (
    Categorical,
    Domain,
    Float,
    Integer,
    LogUniform,
    Quantized,
)

from fieldtrial.config import FIELDS, RUN_PREFIX, ConfigError, TrainConfig, unknown_field
from fieldtrial.disk.sweep_description import (
    MODES,
    DomainKind,
    Mode,
    SearchDomain,
    SweepDescription,
    compared_fields,
    typed_values,
)
from fieldtrial.fields import format_value

# What a source model and the rows that start from it must share, or its weights would not fit.
ARCHITECTURE = (
    "image_size", "model", "blocks", "convolutions", "filters", "filter_growth", "kernel_size",
    "padding", "activation",
    "batch_norm", "batch_norm_after", "dense_width",
)  # fmt: skip
MOST_FAILURES = 10  # or a tenth of the trials, if that is more
# Fields that neither rows nor search can set, because the sweep has a word of its own for them.
OWN_FIELDS = {
    "seed": "`seeds` says how many a winner is run with",
    "select": "`select` says it for all rows",
}
# Of a smoke: the side of its images in pixels, which is the least that a model takes, and how many
# of them there are.
SMOKE_IMAGE_SIZE = 32
SMOKE_LARGER = {"ception": 96, "alexnet": 64}  # models with these in their names
SMOKE_UNPADDED = 96
SMOKE_CLASSES = "2"
SMOKE_IMAGES_PER_CLASS = 8


def grid(**choices: Sequence[object]) -> list[dict[str, object]]:
    """Return one row for each combination of the choices, the last field changing fastest."""
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A comparison: `rows` are compared, `search` is tuned inside each row.

    base: the config that the rows start from.
    rows: the fields of each row of the table (see `grid`).
    search: field -> a Ray Tune domain, such as tune.loguniform(1e-4, 1e-1).
    trials: configurations tried in each row.
    seeds: fresh seeds with which each row's winner is run again, and tested; the table's error bars
    come from them.
    select: what the winner is best at: validation_accuracy or validation_loss.
    max_failures: failed trials after which the sweep stops; None: ten, or a tenth of its trials if
        that is more. Those whose loss was not finite do not count: that is a finding.
    source: fields of a source trial, trained first for each architecture in the rows, from whose
    weights they start.

    Raises:
        ConfigError: rows that are no valid configs, unknown fields, impossible searches; all
        problems at once.
    """

    base: TrainConfig
    rows: Sequence[Mapping[str, object]]
    search: Mapping[str, Domain] = field(default_factory=dict)
    trials: int = 8
    seeds: int = 3
    select: Literal["validation_accuracy", "validation_loss"] = "validation_accuracy"
    source: Mapping[str, object] | None = None
    max_failures: int | None = None

    def __post_init__(self) -> None:
        if self.select in MODES:  # a trial keeps the epoch that its sweep would choose it for
            object.__setattr__(self, "base", replace(self.base, select=self.select))
        problems = (
            self._budget_problems()
            + self._row_problems()
            + self._search_problems()
            + self._source_problems()
        )
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)), where="sweep")

    @property
    def mode(self) -> Mode:
        """Whether `select` is best when it is large or when it is small."""
        return MODES[self.select]

    @property
    def compared(self) -> list[str]:
        """The fields that rows set, in the order in which they come up: the table's columns."""
        return compared_fields(self.rows)

    @property
    def trials_per_row(self) -> int:
        """How many configurations a row tries: one where nothing is searched."""
        return self.trials if self.search else 1

    @property
    def most_failures(self) -> int:
        """After how many failed trials the sweep stops."""
        trials = len(self.rows) * (self.trials_per_row + self.seeds)
        return (
            self.max_failures if self.max_failures is not None else max(MOST_FAILURES, trials // 10)
        )

    def row_config(self, row: int) -> TrainConfig:
        """Return the config of a row before anything is searched; it starts from its source, if
        there is one.
        """
        config = TrainConfig.from_dict(self.rows[row], self.base, where=self.row_label(row))
        source = self.source_config(row)
        return config if source is None else replace(config, weights=f"{RUN_PREFIX}{source.id}")

    def source_config(self, row: int) -> TrainConfig | None:
        """Return the config of the trial whose weights the row starts from, or None."""
        if self.source is None:
            return None
        shape = {name: value for name, value in self.rows[row].items() if name in ARCHITECTURE}
        return TrainConfig.from_dict({**shape, **self.source}, self.base, where="source")

    def largest_config(self, row: int) -> TrainConfig:
        """Return the row's config with every searched number of data and model as is most to
        compute.
        """
        numbers = {
            name: _extremes(domain)
            for name, domain in self.search.items()
            if _is_group(name, "data", "model")
        }
        most = {
            name: min if name == "validation_fraction" else max for name in numbers
        }  # the rest is trained on
        largest = {
            name: most[name](values)
            for name, values in numbers.items()
            if all(map(_is_numeric, values))
        }
        return TrainConfig.from_dict(largest, self.row_config(row))

    def row_cells(self, row: int) -> list[str]:
        """Return the row's values of the compared fields, as text; a field that it does not set has
        the base's.
        """
        config = self.row_config(row)
        return [format_value(getattr(config, name)) for name in self.compared]

    def row_label(self, row: int) -> str:
        """Return the row's fields as text, such as 'model=cnn freeze=none'."""
        return (
            " ".join(f"{name}={format_value(value)}" for name, value in self.rows[row].items())
            or f"row {row}"
        )

    def most_epochs(self, row: int) -> int:
        """Return the epochs of the row's longest possible trial."""
        searched = self.search.get("epochs")
        return max(_extremes(searched)) if searched is not None else self.row_config(row).epochs

    def smallest_batch(self, row: int) -> int:
        """Return the batch size of the row's trial with the most steps in an epoch."""
        searched = self.search.get("batch_size")
        return min(_extremes(searched)) if searched is not None else self.row_config(row).batch_size

    def with_settings(self, settings: Mapping[str, object]) -> "Sweep":
        """Return the sweep with fields of its base replaced.

        Raises:
            ConfigError: a field that the rows or the search decide, or a bad value.
        """
        taken = {"select", *(name for row in self.rows for name in row), *self.search}
        problems = [
            f"{name}: the sweep itself decides it, so it cannot be set"
            for name in settings
            if name in taken
        ]
        try:
            free = {name: value for name, value in settings.items() if name not in taken}
            base = TrainConfig.from_dict(free, self.base)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems, where="--set")
        return replace(self, base=base)

    def smoke(self) -> "Sweep":
        """Return the sweep made tiny: every row, one trial, one seed, one epoch, a few embedded
        images, no downloads.

        Numbers to choose among are cut to the smallest, so that what is large by choice does not
        make the smoke slow.
        """
        fixed: dict[str, object] = {"epochs": 1, "weights": "random"}
        if not self._is_on_digits():
            size = max(
                _smoke_image_size(self.row_config(number)) for number in range(len(self.rows))
            )
            fixed |= {"dataset": "digits", "image_size": size, "classes": SMOKE_CLASSES}
            fixed |= {"train_fraction": 1.0, "images_per_class": SMOKE_IMAGES_PER_CLASS}
        keep = {name: value for name, value in (self.source or {}).items() if name not in fixed}
        return replace(
            self,
            base=TrainConfig.from_dict(fixed, self.base),
            rows=[
                {name: fixed.get(name, value) for name, value in row.items()} for row in self.rows
            ],
            search={
                name: _smallest(domain) for name, domain in self.search.items() if name not in fixed
            },
            trials=1,
            seeds=min(1, self.seeds),
            source=None if self.source is None else keep,
            max_failures=2 * len(self.rows),  # what is wrong with any row is to be seen
        )

    def _is_on_digits(self) -> bool:
        """Return whether every row trains on the embedded images at a small size."""
        configs = [self.row_config(number) for number in range(len(self.rows))]
        searched = {"dataset", "image_size"} & set(self.search)
        return not searched and all(
            config.dataset == "digits" and (config.image_size or 0) <= SMOKE_IMAGE_SIZE
            for config in configs
        )

    def describe(self, name: str) -> SweepDescription:
        """Return what sweep.json holds: everything that decides which trials there are."""
        configs = [TrainConfig.from_dict(row, self.base) for row in self.rows]
        return SweepDescription(
            name=name,
            base=self.base,
            rows=tuple(
                {field_name: getattr(config, field_name) for field_name in row}
                for row, config in zip(self.rows, configs, strict=True)
            ),
            search={field_name: describe(domain) for field_name, domain in self.search.items()},
            trials=self.trials,
            seeds=self.seeds,
            select=self.select,
            source=None if self.source is None else typed_values(self.source),
            max_failures=self.most_failures,
        )

    def _budget_problems(self) -> list[str]:
        problems = []
        if self.trials < 1:
            problems.append(f"trials = {self.trials}: must be at least 1")
        if self.seeds < 0:
            problems.append(f"seeds = {self.seeds}: must be at least 0")
        if self.max_failures is not None and self.max_failures < 0:
            problems.append(f"max_failures = {self.max_failures}: must be at least 0")
        if self.select not in MODES:
            problems.append(f"select = {self.select!r}: must be one of {', '.join(MODES)}")
        if not self.rows:
            problems.append("rows: there must be at least one")
        return problems

    def _row_problems(self) -> list[str]:
        problems = []
        for number in range(len(self.rows)):
            try:
                TrainConfig.from_dict(self.rows[number], self.base)
            except ConfigError as error:
                problems += [
                    f"row {number} ({self.row_label(number)}): {problem}"
                    for problem in error.problems
                ]
            for name, instead in OWN_FIELDS.items():
                if name in self.rows[number]:
                    problems.append(f"row {number}: {name} is not a row's field; {instead}")
        return problems

    def _search_problems(self) -> list[str]:
        problems = []
        in_rows = {name for row in self.rows for name in row}
        for name, domain in self.search.items():
            if name in in_rows:
                problems.append(
                    f"search {name}: a row sets it too, and a field is compared or searched, not"
                    " both"
                )
            elif name not in FIELDS:
                problems.append(f"search: {unknown_field(name)}")
            elif name in OWN_FIELDS:
                problems.append(f"search {name}: is not searched; {OWN_FIELDS[name]}")
            elif not isinstance(domain, Float | Integer | Categorical):
                problems.append(
                    f"search {name} = {domain!r}: must be a Ray Tune domain: uniform, loguniform,"
                    " randint, choice, ..."
                )
            elif isinstance(domain, Categorical) and not domain.categories:
                problems.append(f"search {name} = choice(): must have something to choose from")
            else:
                for value in _extremes(domain):
                    try:
                        TrainConfig.from_dict({name: value}, self.base)
                    except ConfigError as error:
                        problems += [f"search {problem}" for problem in error.problems]
        return problems

    def _source_problems(self) -> list[str]:
        if self.source is None:
            return []
        problems = [
            f"search {name}: the source's weights fix it"
            for name in self.search
            if name in ARCHITECTURE
        ]
        given = {name for row in self.rows for name in row} | set(self.search)
        if "weights" in given:
            problems.append(
                "weights: the rows start from the source's, so neither rows nor search can set them"
            )
        for number in range(len(self.rows)):
            try:
                self.source_config(number)
            except ConfigError as error:
                problems += [problem for problem in error.problems if problem not in problems]
        return problems


def _smoke_image_size(config: TrainConfig) -> int:
    """Return the side in pixels of the smallest images that the config's model takes, from a few
    sizes.
    """
    larger = [size for part, size in SMOKE_LARGER.items() if part in config.model]
    return max(
        [SMOKE_IMAGE_SIZE, *larger, *([SMOKE_UNPADDED] if config.padding == "valid" else [])]
    )


def _extremes(domain: Domain) -> list[Any]:
    """Return values that are legal for the field only if all of the domain's are: its bounds, or
    all its choices.
    """
    if isinstance(domain, Categorical):
        return list(domain.categories)
    if isinstance(domain, Float):
        return [
            float(domain.lower),
            float(domain.upper),
        ]  # of uniform(16, 64), 16.5 is one: no whole number will do
    return [domain.lower, domain.upper - (not isinstance(domain.sampler, Quantized))]


def _smallest(domain: Domain) -> Domain:
    """Return a choice among numbers, or lists of them, cut to the smallest one; any other domain as
    it is.
    """
    if isinstance(domain, Categorical) and all(_is_numeric(value) for value in domain.categories):
        return tune.choice([min(domain.categories)])
    return domain


def _is_group(name: str, *groups: str) -> bool:
    return FIELDS[name].metadata["group"] in groups


def _is_numeric(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_numeric(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe(domain: Domain) -> SearchDomain:
    """Return a Ray Tune domain as sweep.json describes it."""
    if isinstance(domain, Categorical):
        return SearchDomain("choice", choices=tuple(map(format_value, domain.categories)))
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, Quantized):
        sampler, step = sampler.sampler, _number(sampler.q)
    kind: DomainKind = "loguniform" if isinstance(sampler, LogUniform) else "uniform"
    return SearchDomain(kind, _number(domain.lower), _number(domain.upper), step)


def _number(value: Any) -> float:
    return int(value) if isinstance(value, numbers.Integral) else float(value)
