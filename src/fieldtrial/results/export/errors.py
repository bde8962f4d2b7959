"""What may go wrong with the target of an export."""


class TargetError(Exception):
    """The target does not answer, or refuses; the message is one line."""
