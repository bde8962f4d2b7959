"""Environment variables that turn a way to compute on or off."""

import os

# The values of each, the default first. Where two ways agree, the other is there for comparison.
SWITCHES = {
    "FIELDTRIAL_FEATURES": ("on", "off"),  # off: no feature cache
    "FIELDTRIAL_FUSED": ("on", "off"),  # off: torch's plain loop over the parameters
    "FIELDTRIAL_MALLOC": ("kept", "default"),  # default: glibc gives freed memory back
    "FIELDTRIAL_MEMORY_FORMAT": ("channels_last", "contiguous"),  # of images and convolutions
    "FIELDTRIAL_PREFETCH": ("on", "off"),  # off: batches are prepared when asked for
    "FIELDTRIAL_RESAMPLING": ("torch", "pillow"),  # what resizes random crops
}


def switch(name: str) -> str:
    """Return the value of a variable of SWITCHES; its default if it is empty or not set.

    Raises:
        ValueError: it has another value; the message has the choices.
    """
    choices = SWITCHES[name]
    value = os.environ.get(name) or choices[0]
    if value not in choices:
        raise ValueError(f"{name} = {value!r}: must be {' or '.join(choices)}")
    return value


def require_switches() -> None:
    """Check all variables of SWITCHES at once.

    Raises:
        ValueError: some have other values; the message has a line for each.
    """
    problems = []
    for name in SWITCHES:
        try:
            switch(name)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
