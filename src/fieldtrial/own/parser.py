"""A command line's parser that takes the options of own parts: --model.width 2."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from fieldtrial.own.names import is_option, kind_of


class Parser(argparse.ArgumentParser):
    """A parser whose flags for options are those that the command line has.

    Which there are is known from the source of the own part, which the command line names.

    kinds: the kinds of parts whose options are taken; see `own.names.KINDS`.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.kinds: set[str] = set()
        self._options: set[str] = set()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Return the flags, and what is none, as the base class does."""
        given = sys.argv[1:] if args is None else list(args)
        flags = (text.partition("=")[0] for text in given if text.startswith("--"))
        for name in (flag.removeprefix("--") for flag in flags):
            if is_option(name) and kind_of(name) in self.kinds and name not in self._options:
                self._options.add(name)
                self.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        parsed: tuple[argparse.Namespace, list[str]] = super().parse_known_args(given, namespace)
        return parsed
