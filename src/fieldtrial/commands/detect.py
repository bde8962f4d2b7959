"""Count vehicles in video: fieldtrial detect --video FILE --line NAME:x1,y1,x2,y2

Detects with YOLOv3, follows and counts what crosses lines and is in zones, and writes tables, the
annotated video, snapshots and report.html into --run. The same command again goes on where the last
one ended. --video takes several files, folders, and a stream's address; --cluster spreads the work.
"""

from collections.abc import Sequence

from fieldtrial.command_line import add_data_root, job, job_parser, parse
from fieldtrial.control.batch.drive import drive_alone, drive_at
from fieldtrial.control.places.interface import PlaceError
from fieldtrial.control.places.lookup import find_settings
from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.ownership import DeposedError
from fieldtrial.installed.extras import require_extras
from fieldtrial.video.flags import add_options

USAGE = "--video VIDEO ... [--weights FILE] [--line NAME:x1,y1,x2,y2 ...] [--run DIR] [--FLAG ...]"


@job(WorkError, PlaceError, DeposedError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Analyse the videos, and print the path of the report."""
    parser = job_parser(__doc__, USAGE)
    parser.add_argument("--run", metavar="DIR", help="the run directory [runs/VIDEO]")
    parser.add_argument("--cluster", metavar="NAME", help="where it runs: cluster/NAME.toml [here]")
    parser.add_argument("--takeover", action="store_true", help="end another process that does it")
    add_data_root(parser)
    add_options(parser)
    flags = parse(parser, arguments)
    require_extras("train", "report", *(["control"] if flags.cluster else []))
    settings = find_settings(flags.cluster) if flags.cluster else None
    from fieldtrial.video.analyses.command import prepare  # late: torch

    analysis = prepare(flags)
    if analysis.is_live and settings:
        parser.error("--cluster: a stream is analysed where it arrives; leave --cluster out")
    if settings is None:
        return drive_alone(analysis.folder, flags.takeover, analysis.run_here)
    return drive_at(analysis.folder, settings, flags.takeover, analysis.run)
