"""Threads that compute side by side, each with its share of the cores."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


class Lanes:
    """`count` threads, among which the threads that PyTorch would use are divided.

    One lane: everything is done in the thread that asks for it.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, "lane") if count > 1 else None

    def map(self, function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
        """Return what `function` returns for each item, in order. Raises what it raises."""
        if self._pool is None:
            return [function(item) for item in items]
        threads = torch.get_num_threads()
        share = max(1, threads // self._count)

        def in_lane(item: Given) -> Made:
            torch.set_num_threads(share)  # this thread's
            return function(item)

        try:
            return list(self._pool.map(in_lane, items))
        finally:
            # That of threads to come, and of MKL, is one number for the whole process.
            torch.set_num_threads(threads)
