"""What the report of videos says in words and tables, from the summary and the counts."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fieldtrial.disk.inside import Inside
from fieldtrial.fields.printable import counted
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.series import BUSY, busiest, zone_totals
from fieldtrial.video.pages.tables import DIRECTIONS, Occupied, Stream
from fieldtrial.video.summary import AgreementSummary, LineCountSummary, ShareSummary, Summary

MOST_SKIPPED = 50  # stretches in the page
MOST_BY_VIDEO = 200  # videos in the table of them
ARROWS = {"right": "→", "left": "←"}
Counts = Mapping[Stream, Mapping[int, int]]


def facts(summary: Summary, counts: Counts) -> list[dict[str, str]]:
    """Return what stands at the top of the page."""
    videos = summary["videos"]
    seconds = sum(video["seconds"] for video in videos)
    crossed = sum(sum(counted_at.values()) for counted_at in counts.values())
    unread = [part for video in videos for part in video["skipped"]]
    unseen = sum(part.get("seconds", part["last"] - part["first"]) for part in unread)
    found = [
        _fact("crossings", f"{crossed:,}", f"on {counted(len(summary['lines']), 'line')}"),
        _fact(
            "vehicles tracked",
            f"{sum(video['tracks'] for video in videos):,}",
            f"in {sum(video['frames'] for video in videos):,} frames",
        ),
        _fact("video", duration(seconds), f"{counted(len(videos), 'video')}"),
    ]
    streams = [(stream[0], counted_at) for stream, counted_at in counts.items()]
    if busy := busiest(streams, [video["seconds"] for video in videos]):
        video, first, count = busy
        where = f" of {videos[video]['name']}" if len(videos) > 1 else ""
        remark = f"crossings, {_span(first)}{where}"
        found.append(_fact(f"busiest {BUSY} minutes", f"{count:,}", remark))
    stretches = "1 stretch" if len(unread) == 1 else f"{len(unread):,} stretches"
    return [*found, _fact("not seen", duration(unseen), stretches)]


def _fact(name: str, value: str, remark: str) -> dict[str, str]:
    return {"name": name, "value": value, "remark": remark}


def totals(summary: Summary, counts: Counts) -> dict[str, Any]:
    """Return the table of counts: a row for each line and direction, a column for each class."""
    by_row: Counter[tuple[int, int, int]] = Counter()
    for (_, *row), counted_at in counts.items():
        by_row[row[0], row[1], row[2]] += sum(counted_at.values())
    labels = [at for at in range(len(summary["classes"])) if any(key[2] == at for key in by_row)]
    lengths = [video["seconds"] for video in summary["videos"]]
    is_long = max(lengths, default=0) > 60 * (BUSY - 1)
    rows, sums = list[dict[str, Any]](), [0] * len(labels)
    for line, entry in enumerate(summary["lines"]):
        for direction, number in DIRECTIONS.items():
            cells = [by_row[line, number, label] for label in labels]
            own = [
                (stream[0], counted_at)
                for stream, counted_at in counts.items()
                if stream[1:3] == (line, number)
            ]
            busy = busiest(own, lengths)
            sums = [one + other for one, other in zip(sums, cells, strict=True)]
            rows.append(
                {
                    "line": entry["name"],
                    "direction": f"{ARROWS[direction]} {direction}",
                    "cells": cells,
                    "total": sum(cells),
                    "hourly": round(3600 * sum(cells) / sum(lengths)) if is_long else 0,
                    "busiest": busy[2] if busy else 0,
                    "busy": _busy(summary, busy),
                }
            )
    return {
        "classes": [summary["classes"][label] for label in labels],
        "rows": rows,
        "sums": sums,
        "total": sum(sums),
        "is_long": is_long,
    }


def _busy(summary: Summary, busy: tuple[int, int, int] | None) -> str:
    if busy is None:
        return "–"
    video, first, count = busy
    where = f" of {summary['videos'][video]['name']}" if len(summary["videos"]) > 1 else ""
    return f"{count:,} at {_span(first)}{where}"


def by_video(summary: Summary, counts: Counts) -> dict[str, Any] | None:
    """Return the table of videos, a column for each line and direction; None for a single video."""
    if len(summary["videos"]) < 2:
        return None
    totals: Counter[tuple[int, int, int]] = Counter()
    for (video, line, direction, _), counted_at in counts.items():
        totals[video, line, direction] += sum(counted_at.values())
    heads = [
        (line, number, f"{entry['name']} {ARROWS[direction]}")
        for line, entry in enumerate(summary["lines"])
        for direction, number in DIRECTIONS.items()
    ]
    rows = [
        {
            "name": video["name"],
            "seconds": video["seconds"],
            "length": duration(video["seconds"]),
            "frames": video["frames"],
            "tracks": video["tracks"],
            "cells": [totals[at, line, number] for line, number, _ in heads],
        }
        for at, video in enumerate(summary["videos"][:MOST_BY_VIDEO])
    ]
    left = len(summary["videos"]) - len(rows)
    return {"heads": [head for _, _, head in heads], "rows": rows, "left": left}


def line_counts(summary: Summary, counts: Counts, video: int | None) -> list[list[int]]:
    """Return the totals of each line, to the right and to the left, of a video or of all."""
    totals = [[0, 0] for _ in summary["lines"]]
    for (own, line, direction, _), counted_at in counts.items():
        if video in (None, own):
            totals[line][direction] += sum(counted_at.values())
    return totals


def zone_rows(
    summary: Summary, zones: Mapping[tuple[int, int], Mapping[int, Occupied]]
) -> list[dict[str, Any]]:
    """Return the table of zones: mean occupancy, the most at once, and vehicles that came in."""
    rows = []
    lengths = [video["seconds"] for video in summary["videos"]]
    found = zone_totals(zones, len(summary["zones"]), lengths)
    for zone, (mean, most, entered) in zip(summary["zones"], found, strict=True):
        rows.append({"name": zone["name"], "cells": [f"{mean:.2f}", most, entered]})
    return rows


def gallery_note(shown: Mapping[str, Any]) -> str:
    """Return what the gallery leaves out."""
    listed, found = len(shown["crossings"]["video"]), shown["found"]
    notes = []
    if listed < found:
        notes.append(
            f"{listed:,} of {found:,} crossings are listed here, evenly chosen for each line,"
            " direction and class; crossings.csv has them all."
        )
    if len(shown["pictures"]) < listed:
        notes.append(
            f"{counted(len(shown['pictures']), 'picture')} in this page, to keep it small;"
            " the others open from the folder snapshots beside it."
        )
    if shown["unreadable"]:
        notes.append(f"{counted(shown['unreadable'], 'file')} there cannot be shown as a picture.")
    return " ".join(notes)


def skipped(summary: Summary) -> dict[str, Any]:
    """Return the stretches that were not seen, and how many more there are."""
    parts = [
        {
            "video": video["name"],
            "from": duration(part["first"]),
            "to": duration(part["last"]),
            "frames": "unknown" if part["frames"] is None else f"{part['frames']:,}",
            "reason": part["reason"],
        }
        for video in summary["videos"]
        for part in video["skipped"]
    ]
    return {"rows": parts[:MOST_SKIPPED], "left": len(parts[MOST_SKIPPED:])}


def duration(seconds: float) -> str:
    """Return a time as hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _span(first: int) -> str:
    """Return the busiest stretch from its first minute: 1:15 to 1:30."""
    ends = (first, first + BUSY)
    return " to ".join(f"{end // 60}:{end % 60:02d}" for end in ends)


def agreed(agreement: AgreementSummary | None) -> dict[str, Any] | None:
    """Return how detections and counts agree with labels, as tables; None without labels."""
    if agreement is None:
        return None
    named = [
        ("vehicles with a track", agreement["tracked"]),
        ("all detections", agreement["detections"]),
        *((f"{one.get('name', '')}, with a track", one) for one in agreement["classes"]),
    ]
    boxes = [
        [name, _share(one["precision"]), _share(one["recall"])]
        for name, one in named
        if one["precision"]["of"] or one["recall"]["of"]
    ]
    tables = [{"heads": ["boxes", "precision", "recall"], "rows": boxes}]
    if agreement["counts"]:
        heads = ["line", "direction", "time", "by hand", "counted", "counted / by hand"]
        rows = [_by_hand(one) for one in agreement["counts"]]
        tables.append({"heads": [*heads, "found", "right"], "rows": rows})
    return {
        "lead": (
            f"Labelled: {counted(agreement['labelled'], 'vehicle')} in"
            f" {counted(agreement['frames'], 'frame')}. A vehicle is found where a box has at least"
            f" {agreement['overlap']:g} of its area in common with the labelled one (intersection"
            " over union). Intervals are of 95 %, for other frames of this place."
        ),
        "tables": tables,
        "notes": _agreement_notes(agreement),
    }


def _agreement_notes(agreement: AgreementSummary) -> list[str]:
    notes = []
    if per_frame := agreement["per_frame"]:
        ends = _interval(per_frame["low"], per_frame["high"], "{:+.2f}")
        notes.append(
            f"In a frame, vehicles with a track minus labelled ones: {per_frame['error']:+.2f} on"
            f" average{ends}, {per_frame['absolute']:.2f} without signs."
        )
    if agreement["right_class"]["of"]:
        notes.append(f"Right class, of vehicles found: {_share(agreement['right_class'])}.")
    if shared := agreement["shared_frames"]:
        notes.append(
            f"Frames with a vehicle that another labelled frame has, too: {shared:,}. Frames that"
            " are farther apart say more."
        )
    notes += [f"Left out, {what}: {count:,}." for what, count in agreement["passed"].items()]
    return [note.replace("-", "−") if note.startswith("In a frame") else note for note in notes]


def _by_hand(one: LineCountSummary) -> list[str]:
    last = "the end" if one["last"] is None else duration(one["last"])
    ratio = "–" if one["ratio"] is None else f"{one['ratio']:.2f}"
    return [
        one["line"],
        f"{ARROWS[one['direction']]} {one['direction']}",
        f"{duration(one['first'])} to {last}",
        f"{one['by_hand']:,}",
        f"{one['counted']:,}",
        f"{ratio}{_interval(one['low'], one['high'], '{:.2f}')}",
        *("–" if share is None else _share(share) for share in (one["found"], one["right"])),
    ]


def _share(share: ShareSummary) -> str:
    """Return a share with its interval, in per cent, and what it is of."""
    if share["share"] is None:
        return "–"
    low, high = (None if end is None else 100 * end for end in (share["low"], share["high"]))
    ends = _interval(low, high, "{:.1f}")
    return f"{100 * share['share']:.1f} %{ends}, {share['hits']:,} of {share['of']:,}"


def _interval(low: float | None, high: float | None, form: str) -> str:
    if low is None or high is None:
        return ""
    return f" ({form.format(low)} to {form.format(high)})"


def files(outcome: Outcome, summary: Summary) -> list[dict[str, str]]:
    """Return name and content of the files beside the page that are there."""
    named = [
        *((outcome.annotated_path(v["name"]), f"{v['name']} with tracks and counts drawn in")
          for v in summary["videos"][:MOST_BY_VIDEO]),
        (outcome.counts_path, "counts by line, direction, class and minute"),
        (outcome.crossings_path, "each crossing"),
        (outcome.tracks_path, "each track with its class and path"),
        (outcome.zones_path, "occupancy of zones by minute"),
        (outcome.detections_path, "each detection of each frame"),
        (outcome.summary_path, "videos, settings and versions"),
    ]  # fmt: skip
    return [
        {"name": path.name, "address": f"./{quote(path.name)}", "content": content}
        for path, content in named
        if is_shown(path)
    ]


def is_shown(path: Inside) -> bool:
    """Return whether a file is there that the page may link to."""
    try:
        return path.is_file()
    except OSError:
        return False
