"""What interrupts a driver: its signals, as exceptions."""

import os
import signal
from types import FrameType
from typing import NoReturn


class Hangup(KeyboardInterrupt):
    """The driver got SIGTERM or SIGHUP, and cannot ask the user anything."""


class Interruption:
    """Raises signals as exceptions. Ray handles SIGTERM itself, and may swallow an exception.

    SIGHUP stays ignored under nohup. A child that has not begun its program yet dies of the signal:
    an exception there would be shown, or end as an error of the parent's.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._received: int | None = None
        self._numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            self._numbers.remove(signal.SIGHUP)

    def listen(self) -> None:
        """Set the handlers. Raises KeyboardInterrupt or Hangup if a signal has come before."""
        for number in self._numbers:
            signal.signal(number, self._raise)
        if self._received is not None:
            self._raise(self._received, None)

    def ignore_sigterm(self) -> None:
        """Ignore SIGTERM: the driver that has taken over sends it, and this one ends already."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _raise(self, number: int, _frame: FrameType | None) -> NoReturn:
        if os.getpid() != self._process:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._received = number
        raise KeyboardInterrupt if number == signal.SIGINT else Hangup
