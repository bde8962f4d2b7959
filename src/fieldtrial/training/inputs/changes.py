"""How data differ from what they were, in words: which images were added, removed or changed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial.fields.printable import counted
from fieldtrial.training.data.boxes.stored import read_box_keys
from fieldtrial.training.data.image_store import Store, read_places, read_store, store_root
from fieldtrial.training.data.labels.targets import read_target_keys
from fieldtrial.training.data.splits import first_of

NAMED_IMAGES = 3  # of each kind, in a message
# What images are labelled with beside a class, and what reads a key of it for each image.
LABELS: dict[str, Callable[[Path], NDArray[np.uint64] | None]] = {
    "boxes": read_box_keys,
    "labels": read_target_keys,
}


def data_changes(known: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return how the data of `now` differ from those of `known`, which have another digest.

    Both are recorded inputs. Images are named if the machine still has both data sets decoded, else
    the classes are counted.
    """
    try:
        folders = [store_root() / inputs["store"] for inputs in (known, now)]
        (old, new), (was, places) = map(read_store, folders), map(read_places, folders)
        changes = _of_images(old, was, new, places) if was and places else []
        changes = changes or _of_labels(folders, was, places)
    except (OSError, KeyError, ValueError):  # a cleared cache, or another machine's
        changes = []
    changes = changes or _of_classes(known.get("classes", {}), now.get("classes", {}))
    return "; ".join(changes) or "as many images of each class, with other contents or names"


def _of_images(old: Store, was: Sequence[str], new: Store, places: Sequence[str]) -> list[str]:
    """Return how the images of two stores differ; `was` and `places` are those of their files."""
    before, after = ({place: i for i, place in enumerate(names)} for names in (was, places))
    added = [name for name in places if name not in before]
    removed = [name for name in was if name not in after]
    changed, moved, renamed = list[str](), list[str](), list[str]()
    for name in after.keys() & before.keys():
        i, j = before[name], after[name]
        if old.keys[i] != new.keys[j]:
            changed.append(name)
        elif old.parts[i] != new.parts[j]:
            moved.append(name)
    # What was given another name or another folder is neither new nor gone.
    unchanged = set(old.keys[[before[name] for name in removed]].tolist()) if removed else set()
    renamed = [name for name in added if int(new.keys[after[name]]) in unchanged]
    found = {int(new.keys[after[name]]) for name in renamed}
    kinds = {
        "added": [name for name in added if name not in set(renamed)],
        "removed": [name for name in removed if int(old.keys[before[name]]) not in found],
        "changed": sorted(changed),
        "renamed or moved": renamed,
        "in another part": sorted(moved),
    }
    lines = [
        f"{counted(len(names), 'image')} {kind} ({first_of(names, NAMED_IMAGES)})"
        for kind, names in kinds.items()
        if names
    ]
    if old.class_names != new.class_names:
        lines.append(f"classes {first_of(old.class_names)} then, {first_of(new.class_names)} now")
    return lines


def _of_labels(folders: Sequence[Path], was: Sequence[str], places: Sequence[str]) -> list[str]:
    """Return which images have other labels, where the images of two stores are the same."""
    lines = []
    for what, read_keys in LABELS.items():
        old, new = map(read_keys, folders)
        if old is None or new is None:
            continue
        before = dict(zip(was, old.tolist(), strict=True))
        changed = [
            name for name, key in zip(places, new.tolist(), strict=True) if before.get(name) != key
        ]
        listed = first_of(changed, NAMED_IMAGES)
        if changed:
            lines.append(f"{counted(len(changed), 'image')} with other {what} ({listed})")
    return lines


def _of_classes(known: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Return how many images classes had and have, where that differs."""
    lines = [
        f"{name!r} {counted(known.get(name, 0), 'image')} then, {now.get(name, 0):,} now"
        for name in dict.fromkeys((*known, *now))
        if known.get(name, 0) != now.get(name, 0)
    ]
    return [first_of(lines)] if lines else []


def count_changes(known: Mapping[str, Any], now: Mapping[str, int]) -> str:
    """Return which of the numbers in `now` differ from those in `known`, or nothing."""
    return ", ".join(
        f"{name.replace('_', ' ')} {known[name]:,} then, {count:,} now"
        for name, count in now.items()
        if isinstance(known.get(name), int | np.integer) and known[name] != count
    )
