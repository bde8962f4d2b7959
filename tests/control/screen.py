"""What a driver shows on a terminal."""

import contextlib
import os
import re


class Screen:
    """What a program has written to a pseudo-terminal."""

    def __init__(self, terminal: int) -> None:
        self.raw = ""
        self._terminal = terminal
        os.set_blocking(terminal, False)

    def text(self) -> str:
        """Return it without colours and movements of the cursor."""
        with contextlib.suppress(OSError):  # nothing new, or the program has ended
            while new := os.read(self._terminal, 65536):
                self.raw += new.decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)
