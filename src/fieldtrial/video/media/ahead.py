"""What an iterator yields, made ahead in a thread of its own."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar, cast

Item = TypeVar("Item")


def ahead(iterator: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """Yield what `iterator` yields; up to `count` items are made before they are asked for.

    The iterator runs in one thread from its start to its end. What it raises is raised here. If
    nobody asks any more, which closes this generator, the iterator is closed, and its thread ends.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(count)
    closed = threading.Event()

    def put(item: Item | None, error: BaseException | None, last: bool) -> None:
        while not closed.is_set():
            try:
                # A queue that is full stays so when nobody asks: look whether that is the reason.
                made.put((item, error, last), timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in iterator:
                put(item, None, False)
                if closed.is_set():
                    break
        except BaseException as error:
            put(None, error, True)
        else:
            put(None, None, True)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = made.get()
            if error is not None:
                raise error
            if last:
                return
            yield cast(Item, item)
    finally:
        closed.set()
        thread.join()
