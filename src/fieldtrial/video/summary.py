"""What summary.json says of analysed videos; what was found in them is in the tables beside it."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from fieldtrial.disk.schemas import Count, Seconds, WeightsFile

Direction = Literal["right", "left"]  # as seen by somebody who walks along the line
Pixels = Annotated[float, Meta(ge=-1e6, le=1e6)]
Side = Annotated[int, Meta(ge=1, le=65_535)]
Text = Annotated[str, Meta(max_length=4096)]
Many = Meta(max_length=10_000)


class SkippedPart(TypedDict):
    """A stretch of a video that was not seen: it is damaged, or the stream had gone.

    first, last: in seconds since the video's first frame. frames: that could not be decoded, None
    where nobody knows. seconds: how much of the stretch it is, if not all of it.
    """

    first: Seconds
    last: Seconds
    frames: Count | None
    reason: Text
    seconds: NotRequired[Seconds]


def scattered(end: float, frames: int, rate: float, reason: str) -> SkippedPart:
    """Return frames that lack somewhere in a video, which has `rate` of them in each second.

    end: of the video, in seconds.
    """
    return SkippedPart(first=0, last=end, frames=frames, reason=reason, seconds=frames / rate)


class VideoSummary(TypedDict):
    """A video. `name` is what the tables' column video says."""

    name: Text
    width: Side
    height: Side
    seconds: Seconds
    frames: Count  # that were looked at
    detections: Count
    tracks: Count
    skipped: Annotated[list[SkippedPart], Many]


class LineSummary(TypedDict):
    """A line on which vehicles were counted; see `geometry.Line`."""

    name: Text
    start: tuple[Pixels, Pixels]
    end: tuple[Pixels, Pixels]


class ZoneSummary(TypedDict):
    """A zone in which vehicles were counted; see `geometry.Zone`."""

    name: Text
    points: Annotated[list[tuple[Pixels, Pixels]], Meta(min_length=3, max_length=10_000)]


class ShareSummary(TypedDict):
    """So many of so many, with the ends of its interval; None where there is too little to tell."""

    hits: Count
    of: Count
    share: float | None
    low: float | None
    high: float | None


class FoundSummary(TypedDict):
    """How many boxes were labelled ones, and how many of these were found; of a class or all."""

    name: NotRequired[Text]
    precision: ShareSummary
    recall: ShareSummary


class FrameCountSummary(TypedDict):
    """How many more vehicles a frame has than labelled, on average, and without signs."""

    error: float
    low: float | None
    high: float | None
    absolute: float


class LineCountSummary(TypedDict):
    """The count of a line and direction against that by hand."""

    line: Text
    direction: Direction
    first: Seconds
    last: Seconds | None
    by_hand: Count
    counted: Count
    ratio: float | None
    low: float | None
    high: float | None
    found: ShareSummary | None
    right: ShareSummary | None


class AgreementSummary(TypedDict):
    """How detections and counts agree with labels: of `labelled.agreement`, what a page shows."""

    overlap: float
    frames: Count
    shared_frames: Count
    labelled: Count
    detections: FoundSummary
    tracked: FoundSummary
    right_class: ShareSummary
    classes: Annotated[list[FoundSummary], Many]
    per_frame: FrameCountSummary | None
    counts: Annotated[list[LineCountSummary], Many]
    passed: dict[Text, Count]


class Summary(TypedDict):
    """summary.json.

    classes: the names of the classes that were looked for. settings: flag -> value, as text.
    environment: what it ran on, as text: versions, commit, device.
    """

    videos: Annotated[list[VideoSummary], Many]
    lines: Annotated[list[LineSummary], Meta(max_length=1000)]
    zones: Annotated[list[ZoneSummary], Meta(max_length=1000)]
    classes: Annotated[list[Text], Many]
    settings: dict[Text, Text]
    weights: WeightsFile
    environment: NotRequired[dict[Text, Text]]
    agreement: NotRequired[AgreementSummary | None]
