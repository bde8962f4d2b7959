"""Which of a data set's classes a trial is about."""

from fieldtrial.config import ConfigError
from fieldtrial.fields.printable import counted
from fieldtrial.training.data.splits import first_of


def chosen_classes(classes: str, dataset: str, names: tuple[str, ...]) -> list[int]:
    """Return the numbers of `classes` among `names`: all, N, A-B or a list of names.

    A-B are names where these are whole numbers, such as 5-9 of digits; else places from 0 on.

    Raises:
        ConfigError: there are no such classes.
    """
    count, numbered = len(names), all(name.isascii() and name.isdecimal() for name in names)
    if classes == "all":
        return list(range(count))
    if "," in classes:
        asked = [name.strip() for name in classes.split(",")]
        if missing := [name for name in asked if name not in names]:
            raise ConfigError(
                [
                    f"classes = {classes!r}: {dataset} has no {first_of(missing)}; it has"
                    f" {first_of(names)}"
                ]
            )
        return [names.index(name) for name in asked]
    if "-" not in classes:
        if int(classes) > count:
            raise ConfigError([f"classes = {classes!r}: {dataset} has {counted(count, 'class')}"])
        return list(range(int(classes)))
    ends = [int(text) for text in classes.split("-")]
    places = [int(name) for name in names] if numbered else list(range(count))
    if missing_ends := [end for end in ends if end not in places]:
        which = "named" if numbered else "numbered"
        raise ConfigError(
            [
                f"classes = {classes!r}: {dataset} has {counted(count, 'class')}, {which}"
                f" {places[0]} to {places[-1]}; there is no {missing_ends[0]}"
            ]
        )
    return [number for number, place in enumerate(places) if ends[0] <= place <= ends[1]]
