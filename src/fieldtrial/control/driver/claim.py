"""Whose sweep a folder is: what of it a changed sweep keeps, and when it is another sweep's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fieldtrial.budget import AA_SEEDS, SEARCH_SEEDS
from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.control.engine.journal.state import load_state_of_any, save_state
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.identity import REPEATED
from fieldtrial.fields.row_names import BETWEEN
from fieldtrial.search_domains import contains
from fieldtrial.sweep import PlannedRow, Sweep

if TYPE_CHECKING:
    from fieldtrial.control.engine.trials import Trials

Entry = Mapping[str, Any]
LONGEST = 120  # characters of a row in a message


@dataclass(frozen=True)
class Claim:
    """A sweep's claim to a folder. Nothing is written before `write`.

    new, old: the sweep, and the folder's sweep so far, None where there is none that can be read.
    """

    sweep: Sweep
    folder: SweepFolder
    new: SweepDescription
    old: SweepDescription | None

    @cached_property
    def entries(self) -> list[Entry] | None:
        """The list of trials as it is to be; None where it stays as it is.

        A trial is of the row that has its config, whatever the row's number was. One that is of no
        row any more, or that the search cannot propose any more, is of row None.
        """
        listed = self.folder.trials()
        if self.old is None or not listed or not _has_other_trials(self.old, self.new):
            return None
        rows, configs = _Rows(self.sweep), dict[str, TrainConfig | None]()
        found: list[Entry] = []
        for entry in listed:
            name = entry["trial"]
            if name is None:  # a search without a winner
                row = self._renumbered(entry["row"])
            else:
                if name not in configs:
                    configs[name] = self._config(name)
                row = rows.of(entry, configs[name])
            if row is not None or entry["role"] != "winner":
                found.append({**entry, "row": row})
        return found

    @cached_property
    def trials(self) -> "Trials":
        """The sweep's trials, as far as the folder has any.

        Raises:
            ForeignStateError: engine.state is another's.
        """
        from fieldtrial.control.engine.trials import Trials  # it needs Ray: not for a dry run

        rows = None
        if self._saved is not None:
            (known, sources), described = self._saved
            rows = (known if described.search == self.new.search else [], sources)
        return Trials.begin(self.sweep, self.folder, rows, self.entries)

    def write(self) -> None:
        """Describe the sweep in its folder. A state of the sweep so far becomes the new one's.

        A driver that is killed in between leaves what the same command goes on from.
        """
        if self.entries is not None:
            self.folder.relist_trials(self.entries)
        if self._saved is not None and self._saved[1].digest != self.new.digest:
            save_state(self.folder, self.new, (self.trials.rows, self.trials.sources))
        self.folder.make_room(len(self.sweep.planned) * self.sweep.runs_per_row)
        self.folder.write_description(self.new)

    def changes(self) -> Iterator[str]:
        """Yield lines on what has changed since the folder's sweep was last described."""
        if self.old is None or self.entries is None:
            return
        kept = len(_kept_rows(self.old, self.new))
        new, out = (len(set(one)) - kept for one in (_ids(self.new), _ids(self.old)))
        if new or out:
            yield f"rows: {new} new, {out} taken out"
        for name, was, now in _changed_search(self.old, self.new):
            yield f"search {name} was {was}, and is {now} now"
        listed = [one for one in self.entries if one["role"] not in ("source", "winner")]
        stay = {one["trial"] for one in listed if one["row"] is not None}
        left = len({one["trial"] for one in listed} - stay)
        yield f"trials: {len(stay)} stay, {left} left out of the table, with their files kept"

    @cached_property
    def _saved(self) -> tuple[Any, SweepDescription] | None:
        return load_state_of_any(self.folder, [self.new, *([self.old] if self.old else [])])

    def _renumbered(self, row: int | None) -> int | None:
        """Return the number that a row of the sweep so far has now, None where it has none."""
        before, now = _ids(self.old or self.new), _ids(self.new)
        is_known = row is not None and row < len(before) and before[row] in now
        return now.index(before[row]) if row is not None and is_known else None

    def _config(self, trial: str) -> TrainConfig | None:
        try:
            return self.folder.run(trial).config()
        except (OSError, ValueError):  # the table says of this run why it cannot be read
            return None


def claim_folder(sweep: Sweep, folder: SweepFolder) -> Claim:
    """Return a sweep's claim to its folder. Raises ConfigError if the folder is another sweep's."""
    new, problems, old = sweep.describe(folder.name), list[str](), None
    try:
        old = folder.description()
        problems = [] if old is None else _differences(old, new)
    except ValueError as error:
        problems = [str(error)]
    listed = folder.trials()
    if problems and (listed or folder.state_path.exists()):  # else a change spoils nothing
        raise ConfigError(
            [*problems, "give another --name, or undo the change"],
            f"{folder.path} holds another sweep",
        )
    if old is not None and (listed or folder.state_path.exists()):
        new = replace(new, cut=old.cut)
    if old is not None and any(one["role"] == "final" for one in listed):
        # Seeds that are added after a look at the table give a false difference another chance.
        was_until, is_until = (one.most_seeds > one.seeds for one in (old, new))
        is_another = new.most_seeds > old.most_seeds or (was_until and not is_until)
        raised = (old.most_seeds,) if is_another else ()
        new = replace(new, earlier_seeds=(*old.earlier_seeds, *raised))
    return Claim(sweep, folder, new, old)


def _differences(old: SweepDescription, new: SweepDescription) -> list[str]:
    """Return why a sweep cannot go on from another's trials: a line for each difference.

    Rows may be added and taken out as long as one stays, and what is searched may change. A
    deterministic search depends on all that it could propose from its beginning on.
    """
    looks = ["pairs"] if old.most_seeds > old.seeds else []  # else it decides about no trial
    # Folds that have searches of their own are tested by their winners alone.
    looks += ["searches"] if old.folds else []
    names = ("select", "source", "searcher", "deterministic", "aa", *looks)
    pairs = {name: (getattr(old, name), getattr(new, name)) for name in names}
    has_none = not _kept_rows(old, new)
    if has_none or new.source is not None:  # a source's config comes from the base
        base = old.base.differences(new.base)
        pairs = {f"base {name}": pair for name, pair in base.items()} | pairs
    lines = [f"{name} is {was!r} there and {now!r} now" for name, (was, now) in pairs.items()
             if was != now]  # fmt: skip
    if new.deterministic:
        searched = _changed_search(old, new)
        lines += [f"search {name} is {was} there and {now} now" for name, was, now in searched]
    if has_none and not any(line.startswith("base ") for line in lines):
        # Not by their labels, which leave out what all rows of each sweep share.
        first = [_clipped(BETWEEN.join(one.cells(0))) for one in (old, new)]
        lines.append(
            f"rows: none is there and here; the first is {first[0]} there and {first[1]} now"
        )
    return lines


def _kept_rows(old: SweepDescription, new: SweepDescription) -> set[str]:
    """Return the ids of the rows' configs that both have."""
    return set(_ids(old)) & set(_ids(new))


def _ids(sweep: SweepDescription) -> list[str]:
    return [config.id for config in sweep.row_configs]


def _changed_search(
    old: SweepDescription, new: SweepDescription
) -> Iterator[tuple[str, object, object]]:
    """Yield each field that is searched in another way, with what was and is proposed for it."""
    for name in {**old.search, **new.search}:
        was, now = (one.search.get(name, "not searched") for one in (old, new))
        if was != now:
            yield name, was, now


def _has_other_trials(old: SweepDescription, new: SweepDescription) -> bool:
    return _ids(old) != _ids(new) or old.search != new.search


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


class _Rows:
    """The rows of a sweep, found by the configs of their trials."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._known: dict[tuple[object, ...], list[PlannedRow]] = {}
        for row in sweep.planned:
            self._known.setdefault(self._fixed(row.config), []).append(row)

    def of(self, entry: Entry, config: TrainConfig | None) -> int | None:
        """Return the number of the row that a trial in the list is of, None for none."""
        if config is None or entry["role"] == "source":
            return None
        if not all(contains(d, getattr(config, name)) for name, d in self._sweep.search.items()):
            return None
        seed = config.seed - SEARCH_SEEDS * entry.get("search", 0)
        rows = [
            row.number
            for row in self._known.get(self._fixed(config), [])
            if 0 <= seed - row.config.seed < AA_SEEDS
        ]
        return entry["row"] if entry["row"] in rows else next(iter(rows), None)

    def _fixed(self, config: TrainConfig) -> tuple[object, ...]:
        """Return the values of the fields that neither the search nor a further run decides."""
        free = {*REPEATED, *self._sweep.search}
        options = [one for one in config.options.items() if one[0] not in free]
        return (*(getattr(config, name) for name in FIELDS if name not in free), *options)
