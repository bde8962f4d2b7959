"""Items that a thread makes ahead."""

import threading
from collections.abc import Iterator

import pytest

from fieldtrial.video.media.ahead import ahead


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_all_items_come_in_order_from_another_thread() -> None:
    def items() -> Iterator[tuple[int, bool]]:
        for number in range(100):
            yield number, threading.current_thread() is threading.main_thread()

    assert list(ahead(items(), 3)) == [(number, False) for number in range(100)]
    assert _threads() == []


def test_no_more_are_made_than_asked_for() -> None:
    made: list[int] = []
    twelve = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 11:
                twelve.set()
            yield number

    iterator = ahead(items(), 4)
    for _ in range(7):
        next(iterator)
    assert twelve.wait(30)  # 7 were taken, 4 wait, and one is held
    threading.Event().wait(0.3)
    assert len(made) == 12
    iterator.close()
    assert _threads() == []


def test_errors_and_closing_reach_the_other_side() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
            raise ValueError("broken in the middle")
        finally:
            closed.set()

    iterator = ahead(items(), 5)
    assert next(iterator) == 1
    assert next(iterator) == 2
    with pytest.raises(ValueError, match="broken in the middle"):
        next(iterator)
    assert closed.is_set()

    closed.clear()
    iterator = ahead(items(), 1)
    next(iterator)
    iterator.close()
    assert closed.is_set()
    assert _threads() == []
