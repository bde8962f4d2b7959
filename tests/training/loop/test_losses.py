"""Center and triplet loss: their formulas, what they leave out, and that they do no harm beside
cross-entropy.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.results.analysis.statistics import estimate_mean
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import require_micro_batch
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.loop.losses import Center, ClassObjective, Triplet, batch_hard
from fieldtrial.training.models.hooks import HeadInput
from fieldtrial.training.models.network import Network
from tests.training.networks import network_for

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def hardest(features: Tensor, labels: list[int], there: list[bool], margin: float) -> list[float]:
    """Return the batch-hard losses as Hermans et al. write them down, one anchor at a time."""
    found = []
    for anchor, label in enumerate(labels):
        gaps = [(features[anchor] - other).norm().item() for other in features]
        others = [number for number in range(len(labels)) if number != anchor and there[number]]
        positives = [gaps[number] for number in others if labels[number] == label]
        negatives = [gaps[number] for number in others if labels[number] != label]
        whole = there[anchor] and positives and negatives
        found.append(max(0.0, margin + max(positives) - min(negatives)) if whole else 0.0)
    return found


def test_batch_hard_takes_the_farthest_of_the_class_and_the_nearest_of_the_others(
    generator: torch.Generator,
) -> None:
    features = torch.randn(12, 4, generator=generator).requires_grad_()
    labels = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 0]  # 3 has no other image
    there = [True] * 11 + [False]  # the last one only fills the batch up
    losses = batch_hard(features, torch.tensor(labels), torch.tensor(there).float(), 0.3)
    expected = hardest(features.detach(), labels, there, 0.3)
    assert losses.tolist() == pytest.approx(expected)
    assert sum(loss > 0 for loss in expected) > 3
    assert (expected[10], expected[11]) == (0, 0)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert features.grad[11].abs().sum() == 0


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_equal_images_and_batches_without_a_triplet_have_a_finite_gradient(
    labels: list[int],
) -> None:
    features = torch.ones(3, 4, requires_grad=True)
    loss, value = Triplet(3, World(), margin=0.3)(features, torch.tensor(labels), torch.ones(3))
    loss.backward()  # type: ignore[no-untyped-call]
    assert value == 0
    assert features.grad is not None
    assert (features.grad == 0).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "center", "triplet"])
def test_no_weights_mean_that_all_are_one(loss: str, generator: torch.Generator) -> None:
    config = TrainConfig.from_dict({"model": "mlp", "loss": loss, "label_smoothing": 0.1})
    network = network_for(config, 8, channels=1, classes=3)
    images = torch.rand(6, 1, 8, 8, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    given: list[Tensor | None] = [None, torch.ones(6)]
    found = []
    for weights in given:
        objective = ClassObjective(network, config, 3, World())
        total, value = objective(network(images), labels, weights)
        network.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        found.append((value, gradients))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)


def test_centers_follow_their_images_by_the_published_rule(generator: torch.Generator) -> None:
    features = torch.randn(6, 3, generator=generator).requires_grad_()
    labels, weights = torch.tensor([0, 0, 2, 2, 2, 1]), torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    center = Center(4, World(), center_lr=0.5)
    assert center.state() == {}
    loss, value = center(features, labels, weights)
    assert value.item() == pytest.approx(
        features[:5].detach().square().sum().item() / 2
    )  # centers are 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert torch.allclose(features.grad, features.detach() * weights[:, None])
    assert (center.state()["centers"] == 0).all()  # they wait for the batch's end
    center.end_batch()
    first, _, third, unseen = center.state()["centers"]
    assert torch.allclose(first, 0.5 * features[:2].detach().sum(0) / 3)
    assert torch.allclose(third, 0.5 * features[2:5].detach().sum(0) / 4)
    assert (center.state()["centers"][1] == 0).all(), "its only image fills the batch up"
    assert (unseen == 0).all()
    _, value = center(features, labels, weights)
    expected = sum(
        (features[i] - center.state()["centers"][labels[i]]).square().sum().item() / 2
        for i in range(5)
    )
    assert value.item() == pytest.approx(expected)


def test_centers_move_once_a_batch_however_it_is_cut(generator: torch.Generator) -> None:
    features, labels = (
        torch.randn(8, 3, generator=generator),
        torch.tensor([0, 1, 0, 1, 1, 1, 0, 0]),
    )
    whole, cut = (Center(2, World(), center_lr=0.5) for _ in range(2))
    for _ in range(2):
        whole(features, labels, torch.ones(8))
        whole.end_batch()
        for part in (slice(0, 3), slice(3, 8)):
            cut(features[part], labels[part], torch.ones(8)[part])
        cut.end_batch()
    assert torch.allclose(whole.state()["centers"], cut.state()["centers"])


@pytest.mark.parametrize(
    "model", ["cnn", "mlp", "resnet18", "squeezenet1_1", "timm:vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_are_what_the_last_layer_gets(model: str, precision: str) -> None:
    config = TrainConfig.from_dict({"model": model, "precision": precision, "filters": [4]})
    network = network_for(config, 32, channels=3, classes=3)
    head_input = HeadInput(network)
    network.eval()
    logits = network(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    features, head = head_input.take(), network.get_submodule(network.head)
    assert (features.ndim, features.dtype, len(features)) == (2, torch.float32, 2)
    if isinstance(head, torch.nn.Linear):
        tolerance = 1e-5 if precision == "fp32" else 0.05
        assert torch.allclose(head(features), logits, rtol=tolerance, atol=tolerance)
    assert features.shape[1] == next(head.parameters()).shape[1]
    features.sum().backward()  # type: ignore[no-untyped-call]
    assert any(parameter.grad is not None for parameter in network.parameters())


def test_the_weight_is_that_of_the_features_loss_beside_cross_entropy() -> None:
    config = TrainConfig(loss="center", loss_weight=0.25, label_smoothing=0.1)
    network = network_for(config, classes=3)
    head_input = HeadInput(network)
    objective, plain = (
        ClassObjective(network, config, 3, World()),
        ClassObjective(network, TrainConfig(), 3, World()),
    )
    logits, labels, weights = (
        network(torch.rand(4, 1, 8, 8)),
        torch.tensor([0, 1, 2, 0]),
        torch.tensor([1.0, 1, 1, 0]),
    )
    smoothed = torch.nn.functional.cross_entropy(
        logits[:3], labels[:3], label_smoothing=0.1, reduction="sum"
    ).item()
    distances = head_input.take()[:3].square().sum().item() / 2
    assert objective(logits, labels, weights)[0].item() == pytest.approx(
        smoothed + 0.25 * distances
    )
    sharp = torch.nn.functional.cross_entropy(logits[:3], labels[:3], reduction="sum").item()
    assert plain(logits, labels, weights)[0].item() == pytest.approx(sharp)


class WithAuxiliary(torch.nn.Module):
    """A last layer and an auxiliary classifier, named as torchvision names Inception's."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.AuxLogits = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.fc(images.flatten(1)), self.AuxLogits(images.flatten(1))


def test_an_auxiliary_classifier_counts_by_four_tenths() -> None:
    network = Network(WithAuxiliary(), "fc", 2, (0.5,), (0.2,))
    objective, labels, weights = (
        ClassObjective(network, TrainConfig(), 3, World()),
        torch.tensor([0, 2]),
        torch.ones(2),
    )
    images = torch.rand(2, 1, 2, 2)
    logits, second = network.model(network.normalise(images))
    logits = network(images)
    main, auxiliary = (
        torch.nn.functional.cross_entropy(given, labels, reduction="sum").item()
        for given in (logits, second)
    )
    assert objective(logits, labels, weights)[0].item() == pytest.approx(main + 0.4 * auxiliary)


@pytest.mark.parametrize(
    "model", ["cnn", "timm:mobilenetv3_small_050"]
)  # the latter's last layer is timm's own class
def test_losses_of_features_work_on_the_features_of_frozen_layers(
    model: str, new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(
        model=model, loss="triplet", epochs=1, freeze="all_but_head", image_size=32, classes="2"
    )
    records = train_until(run)
    assert records[1]["train_loss"] > 0


@pytest.mark.slow
@pytest.mark.chaos
def test_no_loss_is_worse_on_the_digits_than_cross_entropy(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    """Worse by two points would show in the 95 % intervals over seeds, on any processor."""
    fields = {"model": "cnn", "classes": "all", "filters": [16], "blocks": 2, "dense_width": [64]}
    reached: dict[str, list[float]] = {"cross_entropy": [], "center": [], "triplet": []}
    for loss, accuracies in reached.items():
        for seed in range(5):
            run = new_run(
                f"{loss}-{seed}",
                **{**fields, "epochs": 5, "lr": 0.003, "schedule": "cosine"},
                loss=loss,
                seed=seed,
            )
            train_until(run, test=True)
            accuracies.append((run.result() or {})["test_accuracy"])
    plain = reached["cross_entropy"]
    assert lower_bound(plain) > 0.9, reached
    for accuracies in reached.values():
        differences = [own - other for own, other in zip(accuracies, plain, strict=True)]
        assert lower_bound(differences) > -0.02, reached


def lower_bound(values: list[float]) -> float:
    """Return the lower end of the 95 % interval of the mean over seeds."""
    mean, half_width, _ = estimate_mean(values)
    assert half_width is not None
    return mean - half_width


def test_center_loss_draws_the_classes_together(generator: torch.Generator) -> None:
    """Gradient descent on free features: each keeps 1 − rate of its distance from its class's mean.

    The gradient is the distance from the center, which all images of a class share.
    """
    features = torch.randn(9, 3, generator=generator)
    labels, weights, rate, steps = torch.arange(9) % 3, torch.ones(9), 0.1, 20
    center = Center(3, World(), center_lr=0.5)
    before = from_class_means(features, labels)
    for _ in range(steps):
        features.requires_grad_()
        loss, _ = center(features, labels, weights)
        (gradient,) = torch.autograd.grad(loss, features)
        features = features.detach() - rate * gradient
        center.end_batch()
    after = from_class_means(features, labels)
    assert torch.allclose(after, (1 - rate) ** steps * before, atol=1e-6)


def from_class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Return each image's features less the mean of its class."""
    means = torch.stack([features[labels == label].mean(0) for label in range(3)])
    return features - means[labels]


def test_centers_are_in_the_checkpoint_and_go_on_exactly(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = (new_run(name, loss="center", loss_weight=0.1) for name in ("whole", "halted"))
    train_until(whole)
    train_until(halted, last_epoch=1)
    centers = checkpoint.read(halted.checkpoint_path(1))["loss"]["centers"]
    assert centers.shape == (3, 16)
    assert centers.abs().sum() > 0
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_batches_without_triplets_are_refused_before_training(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(loss="triplet", batch_size=2)
    with pytest.raises(
        ConfigError, match="batch_size = 2: loss triplet needs at least 3 images at a time"
    ):
        train_until(run)
    assert check(Attempt.at(run), shapes_only=True)["problems"] == [
        "batch_size = 2: loss triplet needs at least 3 images at a time"
    ]
    fewer = new_run("fewer", loss="triplet", batch_size=8)
    data, network = open_trial(fewer.config(), fewer)
    with pytest.raises(
        ConfigError,
        match="batch_size = 8 in 4 gradient accumulation steps: loss triplet needs",
    ):
        require_micro_batch(network, data, Attempt.at(fewer, accumulation=4))
    require_micro_batch(network, data, Attempt.at(fewer, World(size=2), accumulation=2))
    require_micro_batch(network, data, Attempt.at(new_run("plain", batch_size=1)))
