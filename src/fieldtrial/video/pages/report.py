"""The report of analysed videos: one HTML file that opens offline, from the run directory's files.

python -m fieldtrial.video.pages.report DIR writes it to DIR/report.html again.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from fieldtrial.command_line import job, job_parser, parse, say
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.inside import Inside
from fieldtrial.fields.printable import counted
from fieldtrial.results.report.page import TEMPLATES, PageFiles, render_page, shared_scripts
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages import texts
from fieldtrial.video.pages.gallery import Group, gallery
from fieldtrial.video.pages.places import Overlay, places
from fieldtrial.video.pages.series import by_second, count_data, starts, zone_data
from fieldtrial.video.pages.tables import Names, read_crossings, read_summary, read_zones
from fieldtrial.video.summary import Summary

OWN = resources.files("fieldtrial.video.pages") / "templates"
FILES = PageFiles(
    OWN / "video.html.jinja",
    (TEMPLATES / "report.css", OWN / "video.css"),
    (
        *shared_scripts("basics", "sorting", "figures"),
        *(OWN / f"video-{name}.js" for name in ("choice", "figures", "gallery", "start")),
    ),
)


MOMENT = "%Y-%m-%d %H:%M UTC"


def write_report(outcome: Outcome) -> Path:
    """Write the report into the run directory, whole or not at all, and return its path.

    Raises:
        FileNotFoundError: a file that it is made of is not there.
        UnreadableError: such a file is not as this program writes it.
        OSError: the disk cannot be written to.
    """
    write_atomically(outcome.report_path, render_report(outcome).encode())
    return outcome.report_path.path


def render_report(outcome: Outcome) -> str:
    """Return the report as HTML. Raises as `write_report` does."""
    started = time.monotonic()
    summary = read_summary(outcome)
    names = Names(summary)
    counts = by_second(read_crossings(outcome, names))
    zones = read_zones(outcome, names)
    sizes = Counter[Group]()
    for stream, seconds in counts.items():
        sizes[stream[1:]] += sum(seconds.values())
    shown = gallery(outcome, summary, names, sizes)
    pictures = places(outcome, summary, names)
    data = {
        "videos": [video["name"] for video in summary["videos"]],
        "starts": starts(summary),
        "lines": [line["name"] for line in summary["lines"]],
        "zones": [zone["name"] for zone in summary["zones"]],
        "classes": summary["classes"],
        "counts": count_data(counts),
        "occupancy": zone_data(zones, [video["seconds"] for video in summary["videos"]]),
        "gallery": shown,
        "snapshots": outcome.snapshots_folder.name,
    }
    shapes = Overlay(summary)
    content = {
        "name": _title(summary),
        "byline": f"Vehicles in video. Written {time.strftime(MOMENT, time.gmtime())}.",
        "facts": texts.facts(summary, counts),
        "totals": texts.totals(summary, counts),
        "by_video": texts.by_video(summary, counts),
        "lines": summary["lines"],
        "zones": summary["zones"],
        "zone_rows": texts.zone_rows(summary, zones),
        "pictures": [
            shapes.on(picture, texts.line_counts(summary, counts, picture["video"]))
            for picture in pictures
        ],
        "pictures_left": len(summary["videos"]) - sum(one["video"] is not None for one in pictures),
        "several": len(summary["videos"]) > 1,
        "gallery_note": texts.gallery_note(shown),
        "agreement": texts.agreed(summary.get("agreement")),
        "skipped": texts.skipped(summary),
        "settings": summary["settings"],
        "weights": summary["weights"],
        "files": texts.files(outcome, summary),
        "environment": summary.get("environment", {}),
        "colophon": (
            f"Made by Fieldtrial from the files in {outcome.folder} in"
            f" {time.monotonic() - started:.1f} s."
        ),
    }
    sections = [
        ("totals", "What was counted"), ("place", "The place"),
        *([("time", "Over time"), ("crossings", "Crossings")] if summary["lines"] else []),
        *([("zones", "Zones")] if summary["zones"] else []),
        ("heat", "Heat map"), ("agreement", "Agreement with labels"), ("skipped", "Not seen"),
        ("made", "How it was made"),
    ]  # fmt: skip
    return render_page({**content, "sections": sections}, data, FILES)


def _title(summary: Summary) -> str:
    names = [video["name"] for video in summary["videos"]]
    return names[0] if len(names) == 1 else counted(len(names), "video")


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report again."""
    parser = job_parser(__doc__, "DIR")
    parser.add_argument("path", metavar="DIR", type=Path, help="the run directory of the videos")
    flags: argparse.Namespace = parse(parser, arguments)
    say(str(write_report(Outcome(Inside(flags.path)))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
