"""A sweep goes on with the searcher and, where an earlier version began it, that one's defaults."""

from collections.abc import Collection
from dataclasses import replace

from fieldtrial.config import FIELDS
from fieldtrial.disk.schemas import BY_POSITION
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.values import format_value
from fieldtrial.sweep import Sweep


def as_begun(
    sweep: Sweep, folder: SweepFolder, given: Collection[str] = ()
) -> tuple[Sweep, list[str]]:
    """Return the sweep as its folder was begun, and a line for each difference.

    It keeps its searcher, so that no table compares rows of different ones, and the defaults with
    which it was begun. A default that means the same for all rows has no line. A folder without
    trials decides nothing, nor does one of a version with the present defaults decide on these:
    only the former ones cut by position.

    given: fields that somebody has set, which stay.
    """
    try:
        known = folder.description()
    except (OSError, ValueError):  # the driver says what is wrong with it
        return sweep, []
    if known is None or not folder.trials():
        return sweep, []
    lines = []
    if known.searcher != sweep.searcher:
        if sweep.search:
            lines = [
                f"searcher = {known.searcher}: that with which {folder.path} was begun; the sweep's"
                f" is {sweep.searcher} now"
            ]
        sweep = replace(sweep, searcher=known.searcher)
    if known.cut != BY_POSITION:
        return sweep, lines
    former = {
        name: value
        for name, value in sweep.base.former_defaults(known.base).items()
        if name not in given
    }
    begun = replace(sweep, base=replace(sweep.base, **former))
    differing = dict.fromkeys(
        name
        for now, then in zip(sweep.planned, begun.planned, strict=True)
        for name in now.config.differences(then.config)
    )
    lines += [
        f"{name} = {format_value(former[name])}: the default with which {folder.path} was begun;"
        f" today's is {format_value(FIELDS[name].default)}"
        for name in differing
    ]
    return begun, lines
