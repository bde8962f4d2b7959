"""Errors that end what runs in a folder."""

DISK_ADVICE = "fix that and run the same command again: nothing is lost"


class WorkError(RuntimeError):
    """What runs in a folder cannot go on; the message says why and what to do."""
