"""What stands at the left of a table's lines: what tells them apart, and nothing that all share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fieldtrial.fields.row_names import common_folders, differing_fields, shortened
from fieldtrial.results.analysis.groups import Group, Groups

NAME = "row"  # the head of the rows' own names


@dataclass(frozen=True)
class Left:
    """The left columns of a table for people.

    fields: whose values may stand there. first: the first group of each line.
    """

    groups: Groups
    fields: Sequence[str]
    first: Sequence[Group]

    @cached_property
    def _told_by(self) -> list[str]:
        """The fields whose values tell lines apart, or all if none does."""
        keys = [group.key for group in self.first]
        return differing_fields(self.fields, keys) or list(self.fields)

    @cached_property
    def _short(self) -> dict[str, dict[str, str]]:
        """The values of each field, without the folders that all of its paths share."""
        return {
            name: shortened(group.key[place] for group in self.first)
            for place, name in enumerate(self.fields)
        }

    @property
    def heads(self) -> list[str]:
        """The names of the columns."""
        return [*([NAME] if self.groups.has_labels else []), *self._told_by]

    def texts(self, group: Group) -> list[str]:
        """Return a line's texts, by its first group; a row that is the first once more says so."""
        key = dict(zip(self.fields, group.key, strict=False))
        texts = [self._short[name][key[name]] for name in self._told_by]
        is_again = self.groups.twins is not None and group.number == self.groups.twins[1]
        if is_again and texts:
            texts[-1] = f"{texts[-1]} again"
        return [self.groups.names[group.number], *texts] if self.groups.has_labels else texts

    @property
    def shared(self) -> str:
        """What all lines share and no column repeats, as sentences; nothing if there is none."""
        same, parts = [], []
        for place, name in enumerate(self.fields):
            texts = [group.key[place] for group in self.first]
            if name not in self._told_by:
                same.append(f"{name}={texts[0]}")
            elif any(short != text for text, short in self._short[name].items()):
                parts.append(f"Paths of {name} are below {'/'.join(common_folders(texts))}/. ")
        return "".join([*([f"All rows: {' '.join(same)}. "] if same else []), *parts])
