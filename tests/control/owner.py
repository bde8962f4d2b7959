"""Owns the sweep in a folder until another process takes it over, or SIGTERM; for test_ownership.

Arguments: the folder, "takeover" or "", and the times of ownership as JSON. Prints a line for each
thing that happens.
"""

import json
import signal
import sys
import time
from types import FrameType

from fieldtrial.control.running import ownership
from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.ownership import DeposedError, only_driver
from fieldtrial.disk.sweep_folder import SweepFolder


def end(_number: int, _frame: FrameType | None) -> None:
    """Leave in good order."""
    raise KeyboardInterrupt


def main() -> None:
    """Own it."""
    signal.signal(signal.SIGTERM, end)
    vars(ownership).update(json.loads(sys.argv[3]))
    try:
        with only_driver(SweepFolder(sys.argv[1]), takeover=sys.argv[2] == "takeover") as owner:
            print("owns", flush=True)
            try:
                while True:
                    owner.check()
                    time.sleep(0.05)
            except DeposedError:
                signal.signal(
                    signal.SIGTERM, signal.SIG_IGN
                )  # which may be to come, as for a driver
                raise
    except (WorkError, DeposedError) as error:
        print(error, flush=True)
    except KeyboardInterrupt:
        print("left", flush=True)


if __name__ == "__main__":
    main()
