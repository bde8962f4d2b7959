"""The memory that a process frees and takes again in each training step on a CPU."""

import contextlib
import ctypes

from fieldtrial.fields.switches import switch

# mallopt's parameters, see mallopt(3), and what they are set to.
MMAP_MAX, NO_MAPPINGS = -4, 0
TRIM_THRESHOLD, NEVER = -1, 2**31 - 1


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, where glibc allocates it.

    By default glibc gives blocks of megabytes, such as a layer's outputs, back to the system, which
    clears them, a page at a time, when the next step asks for them again: a third of the time of a
    small convolutional network's step. FIELDTRIAL_MALLOC=default leaves it at that.

    Raises:
        ValueError: the variable has another value.
    """
    if switch("FIELDTRIAL_MALLOC") == "default":
        return
    with contextlib.suppress(AttributeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(MMAP_MAX, NO_MAPPINGS)
        allocator.mallopt(TRIM_THRESHOLD, NEVER)


def return_freed_memory() -> None:
    """Give freed memory back to the system: a warm worker's next trial may need less."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
