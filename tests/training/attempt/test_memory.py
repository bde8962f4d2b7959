"""Freed memory stays with the process, until it is given back."""

import platform
import subprocess
import sys

import pytest

# Pages that the system had to clear for three blocks of 64 MB one after another, the first of them
# left out; and MB that the process has before and after it gives back what it has freed.
CODE = """
import resource
from fieldtrial.training.attempt.memory import keep_freed_memory, return_freed_memory

def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def size():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1000

keep_freed_memory()
cleared()
print(cleared() + cleared())
print(size())
return_freed_memory()
print(size())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_taken_again_without_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers() -> list[int]:
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True)
        return [int(line) for line in done.stdout.split()]

    cleared, before, after = numbers()
    assert cleared < 1000
    assert before - after > 60
    monkeypatch.setenv("FIELDTRIAL_MALLOC", "default")
    cleared, before, after = numbers()
    assert cleared > 10_000
    assert before - after < 10
