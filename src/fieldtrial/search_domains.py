"""Ray Tune's search domains: their extreme values, and how sweep.json describes them."""

import math
import numbers
from typing import Any

from ray.tune.search.sample import Categorical, Domain, Float, LogUniform, Quantized

from fieldtrial.disk.sweep_description import DomainKind, SearchDomain
from fieldtrial.fields.values import format_value


def extremes(domain: Domain) -> list[Any]:
    """Return the domain's bounds, or all of its choices: if these are valid, all its values are."""
    if isinstance(domain, Categorical):
        return [tuple(one) if isinstance(one, list) else one for one in domain.categories]
    if isinstance(domain, Float):
        # floats, so that a field of whole numbers refuses uniform(16, 64)
        return [float(domain.lower), float(domain.upper)]
    return [domain.lower, domain.upper - (not isinstance(domain.sampler, Quantized))]


def contains(domain: Domain, value: object) -> bool:
    """Return whether a search over the domain can propose this value of a field."""
    known = extremes(domain)
    if isinstance(domain, Categorical):
        return format_value(value) in map(format_value, known) or value in known
    if not isinstance(value, int | float):
        return False
    sampler, (low, high) = domain.get_sampler(), known
    steps = (value - low) / sampler.q if isinstance(sampler, Quantized) else 0
    return bool(low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-6))


def to_search_domain(domain: Domain) -> SearchDomain:
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


def text_in_letters(name: str, domain: Categorical) -> str:
    """Return the text that a choice was given in place of a list, as far as that can be told."""
    letters = domain.categories
    is_text = len(letters) > 1 and all(isinstance(one, str) and len(one) == 1 for one in letters)
    text = "".join(letters) if is_text else ""
    return "" if name == "classes" and text.isdigit() else text  # classes may be single digits
