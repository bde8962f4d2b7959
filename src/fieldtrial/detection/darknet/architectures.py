"""YOLOv3, its tiny form and YOLOv3-SPP (Redmon and Farhadi 2018, arXiv:1804.02767) by layers."""

from collections.abc import Callable

from fieldtrial.detection.darknet.sections import Section

# Width and height in pixels, by k-means on COCO's boxes.
ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"


class _Layers:
    """Layers of a network for `classes` classes, one added after another."""

    def __init__(self, classes: int, side: int, anchors: str) -> None:
        self.classes, self.anchors = classes, anchors
        self.sections = [_section("net", width=side, height=side, channels=3)]

    def add(self, kind: str, **options: object) -> None:
        self.sections.append(_section(kind, **options))

    def convolution(self, filters: int, size: int, stride: int = 1) -> None:
        self.add(
            "convolutional",
            batch_normalize=1,
            filters=filters,
            size=size,
            stride=stride,
            pad=1,
            activation="leaky",
        )

    def pair(self, filters: int) -> None:
        """Add a bottleneck of `filters` filters, and the convolution of twice as many after it."""
        self.convolution(filters, 1)
        self.convolution(2 * filters, 3)

    def route(self, *layers: int) -> None:
        self.add("route", layers=",".join(map(str, layers)))

    def head(self, mask: tuple[int, ...]) -> None:
        filters = len(mask) * (5 + self.classes)
        self.add("convolutional", filters=filters, size=1, stride=1, pad=1, activation="linear")
        self.add(
            "yolo",
            mask=",".join(map(str, mask)),
            anchors=self.anchors,
            classes=self.classes,
            num=self.anchors.count(",") // 2 + 1,
            ignore_thresh=0.7,
        )

    def finer(self, filters: int, layer: int) -> None:
        """Go on at four layers before, twice as fine, with the output of `layer` beside it."""
        self.route(-4)
        self.convolution(filters, 1)
        self.add("upsample", stride=2)
        self.route(-1, layer)


def yolov3(classes: int = 80) -> tuple[Section, ...]:
    """Return YOLOv3 for so many classes: 61,949,149 parameters for COCO's 80."""
    return _full(classes, is_pooled=False)


def yolov3_spp(classes: int = 80) -> tuple[Section, ...]:
    """Return YOLOv3-SPP: spatial pyramid pooling before the first head; 62,998,749 parameters."""
    return _full(classes, is_pooled=True)


def yolov3_tiny(classes: int = 80) -> tuple[Section, ...]:
    """Return YOLOv3-tiny for so many classes: 8,852,366 parameters for COCO's 80."""
    made = _Layers(classes, 416, TINY_ANCHORS)
    for filters in (16, 32, 64, 128, 256, 512):
        made.convolution(filters, 3)
        made.add("maxpool", size=2, stride=1 if filters == 512 else 2)
    made.convolution(1024, 3)
    made.pair(256)
    made.head((3, 4, 5))
    made.finer(128, 8)
    made.convolution(256, 3)
    made.head((0, 1, 2))
    return tuple(made.sections)


def _full(classes: int, is_pooled: bool) -> tuple[Section, ...]:
    made = _Layers(classes, 608, ANCHORS)
    made.convolution(32, 3)
    ends = []  # of the stages of Darknet-53
    for filters, blocks in ((32, 1), (64, 2), (128, 8), (256, 8), (512, 4)):
        made.convolution(2 * filters, 3, stride=2)
        for _ in range(blocks):
            made.pair(filters)
            made.add("shortcut", **{"from": -3}, activation="linear")
        ends.append(len(made.sections) - 2)
    for filters, mask in ((512, (6, 7, 8)), (256, (3, 4, 5)), (128, (0, 1, 2))):
        if filters < 512:
            made.finer(filters, ends[3 if filters == 256 else 2])
        made.pair(filters)
        if is_pooled and filters == 512:
            made.convolution(filters, 1)
            for window, route in ((5, (-2,)), (9, (-4,)), (13, (-1, -3, -5, -6))):
                made.add("maxpool", size=window, stride=1)
                made.route(*route)
            made.pair(filters)
        else:
            made.pair(filters)
        made.pair(filters)
        made.head(mask)
    return tuple(made.sections)


def _section(kind: str, **options: object) -> Section:
    return Section(kind, {key: str(value) for key, value in options.items()})


ARCHITECTURES: dict[str, Callable[[int], tuple[Section, ...]]] = {
    "yolov3": yolov3,
    "yolov3-tiny": yolov3_tiny,
    "yolov3-spp": yolov3_spp,
}
