"""Image files that somebody chose, in the place of the images of a run's split."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fieldtrial import metrics
from fieldtrial.insight.subject import Subject
from fieldtrial.results.read.predictions import StoredPredictions
from fieldtrial.training.data.image_store import centre_square

BATCH = 32


def choose(subject: Subject, paths: Sequence[Path]) -> Subject:
    """Return the subject with these images, decoded as those that it was trained on, in order.

    An image's actual class is the name of its folder, if there is such a class.

    Raises:
        ValueError: files that are no readable images, a line each.
    """
    side, channels = subject.data.images.shape[1], subject.data.channels
    pixels, problems = [], []
    for path in paths:
        try:
            with Image.open(path) as image:
                pixels.append(centre_square(image, side, channels, subject.data.recipe))
        except Exception as error:  # decoders raise nearly everything on damaged files
            problems.append(f"{path} is not a readable image: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    names = {name: number for number, name in enumerate(subject.data.class_names)}
    labels = np.array([names.get(path.resolve().parent.name, -1) for path in paths], np.int64)
    images, index = np.stack(pixels), np.arange(len(paths))
    data = replace(subject.data, images=images, labels=labels)
    with torch.no_grad():
        every = torch.from_numpy(images).to(subject.world.device)
        parts = [every[start : start + BATCH] for start in range(0, len(every), BATCH)]
        logits = torch.cat([subject.network(part) for part in parts]).float().cpu().numpy()
    answers = metrics.log_probabilities(logits)
    made = StoredPredictions(index, labels, answers, subject.data.class_names)
    return replace(subject, data=data, predictions=made, is_chosen=True)
