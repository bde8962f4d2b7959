"""The command fieldtrial detect without what runs it: from flags to an analysis that can begin."""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

import torch

from fieldtrial.config import ConfigError
from fieldtrial.detection.settings import DetectorSettings, located
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import open_file
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.video.analyses.files import RunTasks, analyse
from fieldtrial.video.analyses.live import analyse_stream
from fieldtrial.video.analyses.summing import labels_of
from fieldtrial.video.geometry import parse_lines, parse_zones
from fieldtrial.video.media.addresses import is_stream, without_password
from fieldtrial.video.media.index import VideoIndex
from fieldtrial.video.names import video_names
from fieldtrial.video.options import Options, collected, detector_of, options_of
from fieldtrial.video.outcome import file_name
from fieldtrial.video.segments.here import runner
from fieldtrial.video.segments.work import open_detector
from fieldtrial.video.videos import cut_all, find_all, index_all, require_inside, stored


@dataclass(frozen=True, eq=False)
class Prepared:
    """An analysis that was checked. Nothing is written before `analyse`."""

    folder: VideosFolder
    options: Options
    indexes: list[VideoIndex]
    url: str | None = None  # of a stream, with its password

    @property
    def is_live(self) -> bool:
        """Whether it is of a stream."""
        return self.url is not None

    def run_here(self, check_ownership: Callable[[], None]) -> int:
        """Analyse the videos in this process. Returns the exit status.

        check_ownership: is called now and then, and raises if another process has taken over.
        """
        if self.url is not None:
            return analyse_stream(self.folder, self.url, self.options, check_ownership)
        return self.run(runner(self.folder, check_ownership))

    def run(self, run_tasks: RunTasks) -> int:
        """Analyse the videos; another process must not. Returns the exit status."""
        self.folder.write_options(self.options.to_json())
        names = video_names(self.options.videos)
        videos = cut_all(self.folder, names, self.indexes, self.options.segment_seconds)
        return analyse(self.folder, videos, self.options, run_tasks)


def prepare(flags: argparse.Namespace) -> Prepared:
    """Return the analysis that flags ask for.

    Raises:
        ConfigError: with all problems: videos, the network's files, places, values; or the run
            directory holds something else.
        ValueError: the network's files are damaged, or labels are.
    """
    videos, detector = _checked(flags)
    assert detector.weights is not None  # it was located
    shown = [without_password(one) if is_stream(one) else one for one in videos]
    folder = VideosFolder(Path(flags.run or _default(shown)))
    _refuse_others(folder)
    # What is wrong with the network is said before anything is written.
    names = open_detector(detector, torch.device("cpu") if flags.cluster else None).class_names
    options = options_of(flags, shown, detector, _digests(detector))
    if known := folder.options():
        options.require_same(known, folder.path)
    if is_stream(videos[0]):
        labels_of(options, [], names)  # which are of a file
        return Prepared(folder, options, [], videos[0])
    indexes = (known and stored(folder, videos)) or index_all(videos, options.rate)
    sizes = [(index.width, index.height) for index in indexes]
    require_inside(video_names(videos), sizes, *options.places)
    labels_of(options, indexes, names)
    return Prepared(folder, options, indexes)


def _checked(flags: argparse.Namespace) -> tuple[list[str], DetectorSettings]:
    """Return the videos and the detector's settings. Raises ConfigError with all problems."""
    found: list[object] = collected(
        [
            lambda: find_all(flags.video),
            lambda: located(detector_of(flags)),
            lambda: options_of(flags, [], detector_of(flags)),
            lambda: parse_lines(flags.line),
            lambda: parse_zones(flags.zone),
        ]
    )
    videos, detector, *_ = found
    assert isinstance(videos, list)
    assert isinstance(detector, DetectorSettings)
    return videos, detector


def _default(videos: list[str]) -> Path:
    """Return the run directory of an analysis that names none."""
    name = file_name(PurePath(video_names(videos)[0]).stem)
    return Path("runs") / (name if len(videos) == 1 else f"{name}-and-{len(videos) - 1}-more")


def _refuse_others(folder: VideosFolder) -> None:
    """Raise ConfigError where the run directory has other results, or is a file."""
    if folder.path.exists() and not folder.path.is_dir():
        raise ConfigError([f"{folder.path}: is a file; --run must be a directory, or new"])
    has_report = (folder.folder / "report.html").exists()
    others = {
        "sweep": SweepFolder(folder.folder).exists(),
        "run": Run(folder.folder).exists(),
        "report of other runs": has_report and not folder.exists(),
    }
    for what, is_there in others.items():
        if is_there:
            raise ConfigError([f"{folder.path} holds a {what}; give another --run"])


def _digests(detector: DetectorSettings) -> tuple[str, str]:
    """Return the SHA-256 of the weights, and that of what describes the network."""
    weights = Path(detector.weights or "")
    config = None if detector.architecture else detector.config
    files = [Path(name) for name in (config, detector.names) if name]
    if not weights.is_dir():
        return _digest(weights), _digest(*files)
    # A run directory: its weights were trained here, and its result names the classes.
    run = Run(weights)
    result = run.result() or {}
    about = [run.config().model, result.get("class_names"), result.get("recipe")]
    return _digest(run.weights_path), _digest(*files, also=json.dumps(about))


def _digest(*paths: Path | Inside, also: str = "") -> str:
    digest = hashlib.sha256(also.encode())
    for path in paths:
        with open_file(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
