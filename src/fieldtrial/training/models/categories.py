"""The classes of a published classifier, and which of them a data set's classes are."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fieldtrial.training.data.dataset import problem
from fieldtrial.training.data.splits import NAMED_CLASSES, Indices

CLOSE = 3  # choices named for a class that matches nothing


@dataclass(frozen=True)
class Category:
    """A class of a published classifier.

    Attributes:
        synset: its WordNet id, such as n01440764.
        name: what the library calls it.
        words: other names of it: WordNet's words, one by one and all together.
    """

    synset: str
    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.synset} {self.name}"


def imagenet_categories(
    subset: str = "imagenet-1k", names: Sequence[str] | None = None
) -> tuple[Category, ...]:
    """Return the classes of an ImageNet subset of timm's, in the order of a classifier's logits.

    `names` are the library's own, in that order; None: the first of WordNet's words.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    found = []
    for number, synset in enumerate(info.label_names()):
        words = info.index_to_description(number)
        first, *others = words.split(", ")
        name = names[number] if names else first
        found.append(Category(synset, name, (first, *others, words)))
    return tuple(found)


def match(
    dataset: str, class_names: Sequence[str], categories: Sequence[Category], by_number: bool
) -> Indices:
    """Return the number in `categories` of each class, int64 (classes,).

    A class is named by a synset id or the library's name, else by that name with other spaces,
    underscores or case, else by a word of WordNet; or, if `by_number`, by its number from 0.

    Raises:
        ConfigError: names that match nothing, with the closest; that match several categories; and
            names of one category.
    """
    lookups = [
        _lookup((number, (one.synset, one.name)) for number, one in enumerate(categories)),
        _lookup((number, (_plain(one.name),)) for number, one in enumerate(categories)),
        _lookup((number, map(_plain, one.words)) for number, one in enumerate(categories)),
    ]
    found: dict[str, int] = {}
    problems: list[str] = []
    for name in class_names:
        if by_number and name.isdecimal() and int(name) < len(categories):
            found[name] = int(name)
            continue
        keys = (name, _plain(name), _plain(name))
        numbers = next((table[k] for table, k in zip(lookups, keys, strict=True) if k in table), ())
        if len(numbers) == 1:
            found[name] = numbers[0]
        elif numbers:
            several = " or ".join(str(categories[number]) for number in numbers)
            problems.append(f"the class {name!r} may be {several}; name it by its id")
        else:
            problems.append(f"the class {name!r} is none of the model's {_close(name, categories)}")
    owners: dict[int, list[str]] = {}
    for name, number in found.items():
        owners.setdefault(number, []).append(name)
    problems += [
        f"the classes {' and '.join(map(repr, names))} are one of the model's, {categories[number]}"
        for number, names in owners.items()
        if len(names) > 1
    ]
    if problems:
        more = len(problems) - NAMED_CLASSES
        rest = [f"and {more} more such classes"] if more > 0 else []
        raise problem(dataset, *problems[:NAMED_CLASSES], *rest)
    return np.array([found[name] for name in class_names], np.int64)


def _lookup(named: Iterable[tuple[int, Iterable[str]]]) -> dict[str, tuple[int, ...]]:
    """Return the numbers that have each name."""
    table: dict[str, tuple[int, ...]] = {}
    for number, names in named:
        for name in dict.fromkeys(names):
            table[name] = (*table.get(name, ()), number)
    return table


def _plain(name: str) -> str:
    """Return `name` in lower case, with single spaces for all that is no letter or digit."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def _close(name: str, categories: Sequence[Category]) -> str:
    """Return how many categories there are, and those with the names closest to `name`."""
    known = {
        _plain(word): one
        for one in categories
        for word in ((one.synset,) if re.match(r"n\d", name) else (one.name, *one.words))
    }
    close = difflib.get_close_matches(_plain(name), known, CLOSE, cutoff=0.6)
    listed = ", ".join(dict.fromkeys(str(known[word]) for word in close))
    return f"{len(categories):,} classes" + (f"; close: {listed}" if listed else "")
