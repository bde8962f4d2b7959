"""Run directories of analysed videos, written by hand, as the tables beside them say."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.disk.inside import Inside
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages import places
from fieldtrial.video.pages.snapshots import snapshot_name, write_snapshot
from fieldtrial.video.pages.stills import write_picture
from fieldtrial.video.summary import scattered

CLASSES = ("car", "bus")
SIZE = 320, 240


class Made:
    """A run directory: of each video, line and direction a vehicle crosses every ten seconds."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.outcome = Outcome(Inside(path))
        self.videos: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.zones: list[dict[str, Any]] = []
        self.classes: Sequence[str] = CLASSES
        self.settings = {"confidence": "0.25"}
        self.reason = "damaged"
        self.agreement: dict[str, Any] | None = None
        self.crossings: list[tuple[str, str, str, str, int, str]] = []

    def video(self, name: str, minutes: float = 3.0, size: tuple[int, int] = SIZE) -> None:
        about = {"name": name, "width": size[0], "height": size[1], "seconds": 60 * minutes}
        counted = {"frames": int(1500 * minutes), "detections": 9, "tracks": 2}
        skipped = [
            {"first": 1.0, "last": 3.5, "frames": None, "reason": self.reason},
            scattered(60 * minutes, 5, 10.0, "missing in the file"),
        ]
        self.videos.append({**about, **counted, "skipped": skipped})

    def line(self, name: str, *ends: tuple[float, float]) -> None:
        start, end = ends or ((20.0, 150.0), (300.0, 120.0))
        self.lines.append({"name": name, "start": start, "end": end})

    def zone(self, name: str) -> None:
        self.zones.append({"name": name, "points": [(120, 110), (200, 100), (210, 190)]})

    def write(self) -> Outcome:
        """Write all files but the detections, which no page reads."""
        one = self.outcome
        tracks, occupied = [], []
        for video in self.videos:
            every = [float(time) for time in np.arange(0, video["seconds"], 10)]
            for number, time in enumerate(every):
                name = self.classes[number % len(self.classes)]
                path = f"10 20 {time:.3f};100.5 200 {time + 2:.3f}"
                tracks.append((video["name"], number, name, time, time + 2, 50, path))
                for line in self.lines:
                    direction = "right" if number % 3 else "left"
                    stream = video["name"], line["name"], direction, name
                    self.crossings.append((*stream, number, f"{time:.3f}"))
            for zone in self.zones:
                minutes = range(int(video["seconds"] // 60))
                occupied += [(video["name"], zone["name"], at, 0.5 + at, 2, 3) for at in minutes]
        by_minute = Counter((*row[:4], int(float(row[5]) // 60)) for row in self.crossings)
        counts = [(*key, count) for key, count in by_minute.items()]
        self.table(one.counts_path, "video line direction class minute count", counts)
        self.table(one.crossings_path, "video line direction class track time", self.crossings)
        self.table(one.tracks_path, "video track class first last frames path", tracks)
        self.table(one.zones_path, "video zone minute mean most entered", occupied)
        weights = {"file": "yolov3.weights", "sha256": "0" * 64, "tag": None}
        summary: dict[str, Any] = {"videos": self.videos, "lines": self.lines, "zones": self.zones}
        summary |= {"classes": self.classes, "settings": self.settings, "weights": weights}
        summary |= {"agreement": self.agreement}
        Path(one.summary_path).write_text(json.dumps(summary))
        return one

    def table(self, path: Inside, head: str, rows: Iterable[Sequence[object]]) -> None:
        with path.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head.split(), *rows])

    def pictures(self, most: int = 8) -> None:
        """Keep a still of each video, and snapshots of the first crossings."""
        for video in self.videos:
            rows, columns = np.mgrid[: video["height"], : video["width"]]
            still = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)
            write_picture(self.outcome.still_path(video["name"]), still)
        for row in self.crossings[:most]:
            name = snapshot_name(*row[:5], time=float(row[5]))
            write_snapshot(self.outcome, name, still, (50, 60, 120, 100))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A run directory to be; pictures in its report are small, which saves a second each."""
    monkeypatch.setattr(places, "LONGEST", 160)
    return Made(tmp_path / "videos")
