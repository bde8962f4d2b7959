"""A published classifier as it is, with the last layer that it was trained with, on a data set."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fieldtrial import metrics
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import BY_CONTENT
from fieldtrial.fields.printable import counted
from fieldtrial.processes import data_root
from fieldtrial.training.data.content import cut_validation, keys_of
from fieldtrial.training.data.dataset import TEST, TRAIN, VALIDATION, Contents, Wanted, unreadable
from fieldtrial.training.data.image_store import with_test_images
from fieldtrial.training.data.labels.labelled_folder import open_folder
from fieldtrial.training.data.pixels import as_shown, require_decodable
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.sets.registry import locate, open_dataset
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.models.categories import match
from fieldtrial.training.models.eager import defer_compiler
from fieldtrial.training.models.published import Published
from fieldtrial.training.models.source import ModelSource
from fieldtrial.training.tasks.classification.predictions import ClassScores

BATCH = 64  # images of a process at once
Split = Literal["test", "validation", "all"]
FOLDER = "folder:"


@dataclass(frozen=True, eq=False)
class PublishedScores:
    """What a published classifier answered for the images of a split.

    Attributes:
        published: the classifier.
        answers: labels are numbers of its categories, and probabilities are over all of these.
        matched: the category of each of the data set's classes, by the class's name.
        title: the data set and the split, in words.
    """

    published: Published
    answers: ClassScores
    matched: dict[str, int]
    title: str

    def values(self) -> dict[str, float]:
        """Return accuracy, top5_accuracy (with more than five categories) and loss."""
        label, score = self.answers.label, self.answers.log_probability
        top5 = metrics.top5_accuracy(label, score)
        return {
            "accuracy": metrics.accuracy(label, score),
            **({} if top5 is None else {"top5_accuracy": top5}),
            "loss": self.answers.loss,
        }

    def lines(self) -> list[str]:
        """Return what is printed, a line each."""
        one, values, count = self.published, self.values(), len(self.answers.label)
        name, number = next(iter(self.matched.items()))
        lines = [
            f"weights: {one.origin}",
            f"images, as published: {one.preprocessing.text}",
            f"data: {self.title}: {counted(count, 'image')} of {len(self.matched):,} of the"
            f" {len(one.categories):,} classes; {name!r} is {one.categories[number]}",
        ]
        for metric, title in (("accuracy", "accuracy"), ("top5_accuracy", "top-5 accuracy")):
            if metric in values:
                low, high = (100 * end for end in metrics.wilson(values[metric], count))
                lines.append(
                    f"{title} {100 * values[metric]:.2f} % (for new images {low:.2f} to"
                    f" {high:.2f} %, n={count:,})" + self._beside(metric)
                )
        return [*lines, f"log loss {values['loss']:.4f}"]

    def write(self, run: Run) -> None:
        """Write the answers and their metrics into `run`, as its test split's."""
        # The same names whatever the library: only members with equal ones make an ensemble.
        names = [f"{one.synset} {one.words[0]}" for one in self.published.categories]
        self.answers.write(run.predictions_path("test"))
        run.write_result(
            {
                "outcome": "finished",
                "images": self.title,
                "class_names": names,
                **{f"test_{name}": value for name, value in self.values().items()},
            }
        )

    def _beside(self, metric: str) -> str:
        """Return the library's own figure, after a comma."""
        one = self.published
        if metric not in one.figures:
            return "; the library publishes none" if metric == "accuracy" else ""
        of = f" for {one.figures_of}" if one.figures_of else ""
        figure = f"{100 * one.figures[metric]:.2f} %"
        return f"; published{of}: {figure} of ImageNet's 50,000 validation images"


def evaluate_published(
    config: TrainConfig, split: Split, world: World, out: Path | str | None = None
) -> PublishedScores:
    """Score the classifier of `config`, its model and weights, on images of its data set.

    The data set's classes are matched to the model's by their names. Probabilities are over all
    classes of the model, also where the data set has some of them. Images are preprocessed as the
    library does for its own figures, straight from their files: the image store is not used.

    Args:
        config: its model, weights and dataset count, and for a validation split without images of
            its own validation_fraction and seed.
        split: which images. `all` are those of all parts.
        world: each process takes its share of the images.
        out: a run directory for the answers; None: they are not written.

    Raises:
        ValueError: the model or the weights have no last layer to keep; classes that match none of
            the model's; no such data set; damaged images; `out` holds something else.
        Diverged: an answer is not finite.
    """
    defer_compiler()
    run = _free_run(out, config) if out else None
    published = _open(config)
    dataset = locate(config.dataset, data_root())
    contents = _contents(dataset, split, config)
    numbers = match(dataset, contents.class_names, published.categories, dataset.startswith(FOLDER))
    index = _indices(contents, split)
    logits = _infer(published, dataset, contents, index, world)
    if not torch.isfinite(logits).all():
        raise Diverged(f"{config.model}: its answer for some image is not finite")
    label = numbers[contents.labels[index]]
    losses = functional.cross_entropy(logits, torch.from_numpy(label), reduction="none")
    log_probability = metrics.log_probabilities(logits.numpy())
    answers = ClassScores(index, label, log_probability, losses.double().mean().item())
    matched = dict(zip(contents.class_names, numbers.tolist(), strict=True))
    title = f"{dataset}, {'all images' if split == 'all' else f'{split} images'}"
    scores = PublishedScores(published, answers, matched, title)
    if run and world.is_rank_0:
        scores.write(Run.create(run.path, config))
    return scores


def _open(config: TrainConfig) -> Published:
    """Return the classifier of `config`. Raises ValueError if its weights have no last layer."""
    source = ModelSource.of(config)
    if config.weights == "random":
        raise ValueError(
            "weights = 'random': drawn weights have no last layer to keep; write imagenet or a file"
        )
    if source.run:
        raise ValueError(
            f"weights = {config.weights!r}: is a run of this project; evaluate it with --run"
        )
    return source.library.published(source.name, source.file)


def _free_run(path: Path | str, config: TrainConfig) -> Run:
    """Return the run directory in `path`, unless it holds a trial or other predictions."""
    run, ensemble = Run(path), False
    if run.exists():
        run.require(config)
    else:
        ensemble = run.result() is not None
    if ensemble or run.attempts() or run.weights_path.exists():
        raise ConfigError(
            [f"{path} holds a trial or an ensemble, whose result would be lost; give another --out"]
        )
    return run


def _contents(dataset: str, split: Split, config: TrainConfig) -> Contents:
    """Return the images of the data set that `locate` named, in the parts that a trial has."""
    if split == "all" and dataset.startswith(FOLDER):  # a class may have a single image
        root = Path(dataset.removeprefix(FOLDER))
        return open_folder(root, Wanted(), cut_test=False).contents()
    options = config.options_of("dataset").items()
    found = open_dataset(dataset, data_root(), options=options)
    contents = found.contents()
    if split == "all":
        return contents
    has_validation = bool((contents.parts == VALIDATION).any())
    is_cut = found.test_fraction is not None or (split == "validation" and not has_validation)
    keys = keys_of(contents) if contents.are_files and is_cut else None  # reads every file
    contents = with_test_images(found, contents, BY_CONTENT, keys)
    if split == "test" or (contents.parts == VALIDATION).any():
        return contents
    train, parts = np.flatnonzero(contents.parts == TRAIN), contents.parts.copy()
    labels, names, share = contents.labels[train], contents.class_names, config.validation_fraction
    own = None if keys is None else keys[train]
    parts[train[cut_validation(labels, names, share, config.seed, own)[1]]] = VALIDATION
    return replace(contents, parts=parts)


def _indices(contents: Contents, split: Split) -> Indices:
    """Return the images of `split`, ascending."""
    if split == "all":
        return np.arange(len(contents.labels))
    return np.flatnonzero(contents.parts == (TEST if split == "test" else VALIDATION))


def _infer(
    published: Published, dataset: str, contents: Contents, index: Indices, world: World
) -> Tensor:
    """Return, to all processes, the logits float32 (n, categories) of the images `index`.

    Raises:
        ConfigError: images that cannot be decoded; the message names the files.
    """
    problems: list[str] = []

    def decode(number: int) -> Tensor | None:
        try:
            with contents.image(number) as image:
                require_decodable(image)
                return published.preprocessing.apply(as_shown(image, channels=3))
        except Exception as error:  # decoders raise nearly everything on damaged files
            problems.append(f"{contents.where(number)} is not a readable image: {error}")
            return None

    model, parts = published.model.to(world.device), []
    threads = min(8, len(os.sched_getaffinity(0)))
    shares = list(_shares(index, world))
    with (
        torch.no_grad(),
        ThreadPoolExecutor(threads) as pool,
        _progress(world, f"evaluating on {Path(dataset).name}", len(index)) as advance,
    ):
        ahead = pool.map(decode, shares[0][0])
        for (_, count), following in zip(shares, [*shares[1:], ([], 0)], strict=True):
            images = [image for image in ahead if image is not None]
            ahead = pool.map(decode, following[0])  # while the model computes
            if not world.any(bool(problems)):  # after the first, only the other files are checked
                logits = model(torch.stack(images).to(world.device)).float()
                parts.append(world.all_gather(logits)[:count].cpu())
            advance(count)
    if world.any(bool(problems)):
        raise unreadable(dataset, problems)
    return torch.cat(parts)


def _progress(
    world: World, label: str, count: int
) -> AbstractContextManager[Callable[[int], object]]:
    if not world.is_rank_0:
        return nullcontext(lambda _: None)
    return progress(label, 0, count, "images")


def _shares(index: Indices, world: World) -> Iterator[tuple[Sequence[int], int]]:
    """Yield this process's images of each batch, and how many images the whole batch has.

    All processes get equally many: the first images fill up the last batch.
    """
    step = BATCH * world.size
    for start in range(0, len(index), step):
        count = min(step, len(index) - start)
        width = -(-count // world.size)
        places = start + np.arange(world.rank, width * world.size, world.size)
        yield np.take(index, places, mode="wrap").tolist(), count
