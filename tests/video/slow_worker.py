"""The real worker with a detector that is slow before a file is there, for test_videos.

Each frame is a part of its own, so that a kill in the middle leaves something.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldtrial.detection.boxes import Detections
from fieldtrial.detection.detector import Detector
from fieldtrial.video.segments import detect as detecting
from fieldtrial.worker.__main__ import main

Images = Sequence[NDArray[np.uint8]]
detect = Detector.detect


def slowly(detector: Detector, images: Images) -> list[Detections]:
    """Detect, and wait as long as the file is missing."""
    if not Path(os.environ["GO"]).exists():
        time.sleep(1.0)
    return detect(detector, images)


if __name__ == "__main__":
    detecting.PART_SECONDS = 0.0
    setattr(Detector, "detect", slowly)  # noqa: B010 (mypy knows it as a method)
    main()
