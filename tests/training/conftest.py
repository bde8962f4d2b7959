"""What the tests of training share: small trials on the digits, and what must be equal when one is
done again.
"""

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.interface import Scores

Values = dict[str, Any]
TIMES = ("seconds", "group_seconds", "held_seconds", "alone_seconds", "energy_joules", "time")
MEASURED = (*TIMES, "images_per_second", "data_wait", "peak_memory_mb", "attempt")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Leave the machine's other cores alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Make the run of a config, by default a small network's on three classes of digits, in a
    folder of this test.
    """

    def make(name: str = "run", **fields: object) -> Run:
        small = {"model": "mlp", "classes": "3", "epochs": 3, "dense_width": [16], **fields}
        return Run.create(tmp_path / name, TrainConfig.from_dict(small))

    return make


@pytest.fixture
def train_until() -> Callable[..., list[Record]]:
    """Train in this process, to the end or until an epoch's record is there, and return the
    records.
    """

    def train_run(
        run: Run, attempt: int = 1, last_epoch: int | None = None, test: bool = False
    ) -> list[Record]:
        records = []
        with contextlib.closing(train(Attempt.at(run, World(), attempt, test=test))) as epochs:
            for record in epochs:
                records.append(record)
                if record["epoch"] == last_epoch:
                    break
        return records

    return train_run


@pytest.fixture
def each_epoch_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each epoch's checkpoint on disk before the next epoch, however short epochs are."""
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")


@pytest.fixture
def validate_as(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have trials go by these (loss, accuracy) of their epochs, whatever they are measured to be.

    What a training reaches depends on the processor's rounding; which epoch is the best must not.
    """

    def script(*scores: tuple[float, float]) -> None:
        add = TrialProgress.add

        def add_scripted(
            progress: TrialProgress, _: Scores, seconds: float, config: TrainConfig
        ) -> None:
            loss, accuracy = scores[progress.epoch + 1]
            add(progress, {"loss": loss, "accuracy": accuracy}, seconds, config)

        monkeypatch.setattr(TrialProgress, "add", add_scripted)

    return script


@pytest.fixture
def numbers() -> Callable[[Run], list[Values]]:
    """Return a run's records without what is measured."""

    def without_measurements(run: Run) -> list[Values]:
        return [
            {name: value for name, value in r.items() if name not in MEASURED}
            for r in run.records()
        ]

    return without_measurements


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of images is added whenever a network is given some."""
    sizes: list[int] = []
    compute = Network.forward

    def note(network: Network, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return compute(network, images)

    monkeypatch.setattr(Network, "forward", note)
    return sizes


@pytest.fixture
def get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Data]:
    """Load a data set from this test's folder, with a fifth for validation."""

    def load_it(
        dataset: str, image_size: int | None = None, root: Path = tmp_path, **fields: object
    ) -> Data:
        monkeypatch.setenv("FIELDTRIAL_DATA", str(root))
        return load(
            TrainConfig.from_dict({"dataset": dataset, "validation_fraction": 0.2, **fields}),
            image_size,
        )

    return load_it


class WebServer:
    """A real web server on this machine, whose failings a test sets.

    `files` are served by name, with `headers` on top. It understands Range and If-Range unless
    `ranges` is off, breaks each of the first `breaks` answers off after `piece` bytes, answers the
    first `refuses` requests with 503, and rests for `pause` seconds after each 64 kB. `requests`
    has the Range header of each request, or None.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.version, self.ranges = '"v1"', True
        self.breaks, self.piece, self.refuses, self.pause = 0, 0, 0, 0.0
        self.requests: list[str | None] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(web) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805 (self is the handler's)
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.requests.append(self.headers["Range"])
                if web.refuses:
                    web.refuses -= 1
                    return self.send_error(503)
                content = web.files.get(self.path[1:])
                if content is None:
                    return self.send_error(404)
                start = 0
                if (
                    web.ranges
                    and self.headers["Range"]
                    and self.headers["If-Range"] in (None, web.version)
                ):
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                    if start >= len(content):
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{len(content)}")
                        self.send_header("Content-Length", "0")
                        return self.end_headers()
                self.send_response(206 if start else 200)
                if start:
                    self.send_header(
                        "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                    )
                self.send_header("Content-Length", str(len(content) - start))
                self.send_header("ETag", web.version)
                for name, value in web.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                end = len(content)
                if web.breaks:
                    web.breaks -= 1
                    end = min(end, start + web.piece)
                for position in range(start, end, 1 << 16):
                    self.wfile.write(content[position : min(end, position + (1 << 16))])
                    time.sleep(web.pause)
                self.close_connection = True
                return None

            def log_message(self, *_: object) -> None:
                """Keep the tests' output quiet."""

        return Handler


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()
