"""Figures of classes: right and wrong predictions, the most confused pairs, a map of features."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fieldtrial.insight.figures import NEUTRAL, RIGHT, WRONG, Picture, grid, scatter
from fieldtrial.insight.subject import NothingToDrawError, Subject
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.svm.penultimate import features

PAIRS = 8
EXAMPLES = 7  # images of each pair
MOST_POINTS = 2000  # in the map of features; t-SNE takes a minute for ten times as many
NAME_LENGTH = 18


def predictions_grid(subject: Subject, images: int, seed: int = 0) -> Figure:
    """Return a grid of images with "predicted / actual", half of them wrong where possible."""
    generator = np.random.default_rng(seed)
    made = subject.predictions
    right = made.predicted == made.label
    wrong_ones, right_ones = (
        generator.permutation(np.flatnonzero(mask)) for mask in (~right, right)
    )
    wrong_ones = wrong_ones[: max(images // 2, images - len(right_ones))]
    chosen = [*wrong_ones, *right_ones[: images - len(wrong_ones)]]
    cells = [judged(subject, int(position)) for position in chosen]
    if subject.is_chosen:
        note = "the actual class is the folder's name, unknown if that is no class"
        return grid(cells, 6, f"Predicted / actual: {len(right):,} chosen images", note)
    share = 100 * right.mean()
    title = f"Predicted / actual: {share:.2f} % of {len(right):,} {subject.images_name} are right"
    note = f"{len(wrong_ones)} of the {np.sum(~right):,} wrong ones (✗), then right ones (✓)"
    return grid(cells, 6, title, note)


def confused_pairs(subject: Subject, seed: int = 0) -> Figure:
    """Return the pairs of classes that are confused most often, with examples.

    Raises:
        ValueError: all images are right.
    """
    label, predicted = subject.predictions.label, subject.predictions.predicted
    wrong = np.flatnonzero(predicted != label)
    if not len(wrong):
        raise NothingToDrawError(f"all {subject.images_name} are right")
    pairs, counts = np.unique(
        np.stack([label[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    generator = np.random.default_rng(seed)
    cells: list[Picture | None] = []
    for row in np.argsort(-counts, kind="stable")[:PAIRS]:
        actual, taken_for = pairs[row]
        own = generator.permutation(
            wrong[(label[wrong] == actual) & (predicted[wrong] == taken_for)]
        )[:EXAMPLES]
        share = counts[row] / np.sum(label == actual)
        head = (
            f"{_short(subject, actual)}\ntaken for\n{_short(subject, taken_for)}\n{counts[row]}"
            f" ({share:.0%})"
        )
        for number, position in enumerate(own):
            image = subject.pixels(int(subject.predictions.index[position]))
            cells.append(Picture(image, head if number == 0 else "\n\n\n", WRONG))
        cells += [None] * (EXAMPLES - len(own))
    note = f"number, and share of the class's {subject.images_name}; up to {EXAMPLES} of them each"
    return grid(cells, EXAMPLES, "The most confused pairs of classes", note)


def embedding(subject: Subject, seed: int = 0) -> Figure:
    """Return the t-SNE map (van der Maaten and Hinton 2008) of the split's penultimate features."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    index = subject.predictions.index
    if len(index) < 4:
        raise NothingToDrawError(f"{len(index)} images are too few for a map")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(index))[:MOST_POINTS])
    attempt = Attempt(subject.run, subject.config, subject.world)
    given = features(subject.network, subject.data, index[chosen], attempt)
    assert given is not None, "one process explains"
    reduced = PCA(min(50, *given.shape), random_state=seed).fit_transform(given)
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    title = f"Penultimate features of {len(chosen):,} {subject.images_name} (t-SNE)"
    note = "near points are similar to the network; distances between far groups mean nothing"
    return scatter(points, subject.predictions.label[chosen], subject.data.class_names, title, note)


def judged(subject: Subject, position: int, heat: NDArray[np.float32] | None = None) -> Picture:
    """Return one of the predictions as a picture: the image, with predicted and actual class.

    heat: see `Picture`.
    """
    made = subject.predictions
    label, predicted = int(made.label[position]), int(made.predicted[position])
    sign, colour = ("✓", RIGHT) if label == predicted else ("✗", WRONG)
    sign, colour = (sign, colour) if label >= 0 else ("?", NEUTRAL)
    share = np.exp(made.log_probability[position, predicted])
    title = f"{sign} {_short(subject, predicted)} ({share:.0%})\n/ {_short(subject, label)}"
    return Picture(subject.pixels(int(made.index[position])), title, colour, heat)


def _short(subject: Subject, label: int) -> str:
    name = subject.class_name(int(label))
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
