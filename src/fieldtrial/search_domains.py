"""The domains of a search: which values it may propose for a field.

The functions have the names and arguments of `ray.tune`, whose domains a sweep takes as well. These
need no Ray, which takes a second to import.
"""

import math
import numbers
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from fieldtrial.config import TrainConfig
from fieldtrial.disk.sweep_description import DomainKind, SearchDomain
from fieldtrial.fields.options import typed
from fieldtrial.fields.values import check_type, format_value, is_same, parse
from fieldtrial.parts.typed import type_of


@dataclass(frozen=True)
class Choice:
    """One of `categories`."""

    categories: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """Numbers between two, evenly or by their logarithms; only every `step`, if that is given.

    lower, upper: as they were given; `ends` are the values that a search may reach.
    """

    lower: float
    upper: float
    is_whole: bool = False
    is_log: bool = False
    step: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The least value and the greatest; a range of whole numbers without steps lacks `upper`.

        Otherwise floats, so that a field of whole numbers refuses uniform(16, 64).
        """
        if self.is_whole:
            return self.lower, self.upper - (self.step is None)
        return float(self.lower), float(self.upper)


Domain = Choice | Range


def choice(categories: Iterable[Any]) -> Choice:
    """Return the domain of these values."""
    return Choice(tuple(categories))


def uniform(lower: float, upper: float) -> Range:
    """Return the numbers from `lower` to `upper`."""
    return Range(lower, upper)


def quniform(lower: float, upper: float, q: float) -> Range:
    """Return the multiples of `q` from `lower` to `upper`."""
    return Range(lower, upper, step=q)


def loguniform(lower: float, upper: float) -> Range:
    """Return the numbers from `lower` to `upper`, evenly by their logarithms."""
    return Range(lower, upper, is_log=True)


def randint(lower: int, upper: int) -> Range:
    """Return the whole numbers from `lower` to `upper` - 1."""
    return Range(lower, upper, is_whole=True)


def qrandint(lower: int, upper: int, q: int = 1) -> Range:
    """Return every `q`-th whole number from `lower` to `upper`."""
    return Range(lower, upper, is_whole=True, step=q)


def lograndint(lower: int, upper: int) -> Range:
    """Return the whole numbers from `lower` to `upper` - 1, evenly by their logarithms."""
    return Range(lower, upper, is_whole=True, is_log=True)


def to_domain(value: Any) -> Any:
    """Return a domain of Ray Tune as one of these, and anything else as it is."""
    ray = sys.modules.get("ray.tune.search.sample")  # who has a domain of it has imported it
    if ray is None or not isinstance(value, ray.Float | ray.Integer | ray.Categorical):
        return value
    if isinstance(value, ray.Categorical):
        return choice(value.categories)
    sampler, step = value.get_sampler(), None
    if isinstance(sampler, ray.Quantized):
        sampler, step = sampler.sampler, sampler.q
    if not isinstance(sampler, ray.Uniform | ray.LogUniform):
        return value
    is_whole, is_log = isinstance(value, ray.Integer), isinstance(sampler, ray.LogUniform)
    return Range(value.lower, value.upper, is_whole, is_log, step)


def to_ray(domain: Domain) -> Any:
    """Return the domain as Ray Tune's searchers take it."""
    from ray.tune.search import sample

    if isinstance(domain, Choice):
        return sample.Categorical(list(domain.categories)).uniform()
    numbers = (sample.Integer if domain.is_whole else sample.Float)(domain.lower, domain.upper)
    drawn = numbers.loguniform() if domain.is_log else numbers.uniform()
    return drawn if domain.step is None else drawn.quantized(domain.step)


def extremes(domain: Domain) -> list[Any]:
    """Return the domain's ends, or all of its choices: if these are valid, all its values are."""
    if isinstance(domain, Choice):
        return [tuple(one) if isinstance(one, list) else one for one in domain.categories]
    return list(domain.ends)


def contains(domain: Domain, value: object) -> bool:
    """Return whether a search over the domain can propose this value of a field."""
    known = extremes(domain)
    if isinstance(domain, Choice):
        return format_value(value) in map(format_value, known) or value in known
    if not isinstance(value, int | float):
        return False
    low, high = known
    steps = (value - low) / domain.step if domain.step else 0
    return bool(low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-6))


def with_texts(domain: Domain) -> Domain:
    """Return a choice among tuples as one among their texts: searchers take plain values only."""
    if isinstance(domain, Choice) and any(
        isinstance(one, list | tuple) for one in domain.categories
    ):
        return Choice(tuple(map(format_value, extremes(domain))))
    return domain


def proposal_of(domain: Domain, value: Any, hint: Any) -> Any:
    """Return what a search proposes, as `with_texts` has it, for a field to have `value`.

    A choice may be written in another way: 0 or "1e-3" for a field of floats.

    hint: the field's type, None for an option, whose choices are of its type already. Raises
    ValueError if the search proposes nothing of the kind.
    """
    proposed = with_texts(domain)
    if isinstance(proposed, Choice) and hint is None:
        for one, meant in zip(proposed.categories, extremes(domain), strict=True):
            if is_same(meant, value):
                return one
    elif isinstance(proposed, Choice):
        for one in proposed.categories:
            if (parse if isinstance(one, str) else check_type)(one, hint) == value:
                return one
    elif contains(domain, value):
        return value
    raise ValueError(f"{value!r}: must be of {to_search_domain(domain)}")


def meant_by(domain: Domain, proposed: Any) -> Any:
    """Return the value that a search means by what it proposes, as `with_texts` has it."""
    if with_texts(domain) is domain:
        return proposed
    return next(one for one in extremes(domain) if format_value(one) == proposed)


def typed_domain(name: str, domain: Domain, config: TrainConfig) -> Domain:
    """Return the domain of an option, its choices as the type that the config's own part takes.

    Raises:
        ConfigError: an own part of the config is not found, or cannot be called.
        ValueError: it takes no such option, or one of another type.
    """
    hint = type_of(name, config)
    if isinstance(domain, Choice):
        return Choice(tuple(typed(value, hint) for value in domain.categories))
    if domain.is_whole and float in (hint, *get_args(hint)):
        raise ValueError(f"{to_search_domain(domain)}: must be of numbers, such as quniform")
    for end in domain.ends:
        typed(end, hint)
    return domain


def to_search_domain(domain: Domain) -> SearchDomain:
    """Return a domain as sweep.json describes it."""
    if isinstance(domain, Choice):
        return SearchDomain("choice", choices=tuple(map(format_value, domain.categories)))
    kind: DomainKind = "loguniform" if domain.is_log else "uniform"
    step = None if domain.step is None else _number(domain.step)
    return SearchDomain(kind, _number(domain.lower), _number(domain.upper), step)


def _number(value: Any) -> float:
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def domain_problem(name: str, domain: object) -> str | None:
    """Return what is wrong with the domain of the field `name`, None if nothing is."""
    if isinstance(domain, Choice):
        if not domain.categories:
            return "choice(): must have something to choose from"
        if text := _text_in_letters(name, domain):
            return (
                f"choice({text!r}): would be taken letter by letter; must be a list, such as"
                f" choice([{text!r}])"
            )
        return None
    if not isinstance(domain, Range):
        rule = "must be a domain: uniform, loguniform, randint, choice, ..."
        return f"{domain!r}: {rule}"
    broken = _range_rule(domain)
    return broken and f"{to_search_domain(domain)}: {broken}"


def _range_rule(domain: Range) -> str | None:
    """Return the rule that a range breaks, None if it keeps all."""
    low, high = domain.ends
    if not -math.inf < low <= high < math.inf:
        return "must end where it begins, or above"
    if domain.is_log and low <= 0:
        return "must begin above 0, because it is even by logarithms"
    if domain.step is not None and domain.step <= 0:
        return "must have a step above 0"
    counts = [end / domain.step for end in domain.ends] if domain.step else []
    # Whole numbers may begin anywhere.
    if not domain.is_whole and not all(math.isclose(one, round(one)) for one in counts):
        return "must begin and end at a multiple of its step"
    return None


def _text_in_letters(name: str, domain: Choice) -> str:
    """Return the text that a choice was given in place of a list, as far as that can be told."""
    letters = domain.categories
    is_text = len(letters) > 1 and all(isinstance(one, str) and len(one) == 1 for one in letters)
    text = "".join(letters) if is_text else ""
    return "" if name == "classes" and text.isdigit() else text  # classes may be single digits
