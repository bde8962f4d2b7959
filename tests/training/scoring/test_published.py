"""Published classifiers with their own last layer, against torchvision and timm applied by hand."""

import hashlib
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision.models
from numpy.typing import NDArray
from PIL import Image
from timm.data import ImageNetInfo, resolve_data_config
from torch import nn
from torchvision import transforms
from torchvision.models import SqueezeNet1_1_Weights
from torchvision.transforms import InterpolationMode

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.analysis.ensemble import combine
from fieldtrial.training.data.load import load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.models import libraries
from fieldtrial.training.models.published import Preprocessing
from fieldtrial.training.scoring.published import Split, _shares, evaluate_published
from tests.training.networks import Code, finished_run, network_for
from tests.training.photos import jpeg

IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# model -> how it is made, and the preprocessing that its library documents
MODELS: dict[str, tuple[Callable[[], nn.Module], list[Callable[..., object]], str]] = {
    "torchvision:squeezenet1_1": (
        torchvision.models.squeezenet1_1,
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), IMAGENET],
        "shorter side resized to 256 pixels (bilinear), centre of 224 pixels,"
        " mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
    ),
    "timm:test_resnet": (
        lambda: timm.create_model("test_resnet"),
        [
            transforms.Resize(168, InterpolationMode.BILINEAR),
            transforms.CenterCrop(160),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ],
        "shorter side resized to 168 pixels (bilinear), centre of 160 pixels,"
        " mean 0.5 0.5 0.5, std 0.5 0.5 0.5",
    ),
}
LABELS = SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
# Of each image: the rank of its class among the model's answers, so that five are right, and nine
# are among the first five.
RANKS = [0, 0, 0, 0, 0, 3, 3, 2, 4, 20, 20, 20]


def weights_of(model: str, path: Path, seed: int = 0) -> nn.Module:
    """Return the model with drawn weights, which are written into `path`."""
    torch.manual_seed(seed)
    made = MODELS[model][0]().eval()
    with torch.no_grad():
        [one for one in made.parameters() if one.ndim > 1][-1].normal_(0, 0.05)
    torch.save(made.state_dict(), path)
    return made


def by_hand(model: str, made: nn.Module, files: Sequence[Path]) -> NDArray[np.float32]:
    """Return the model's logits."""
    prepare = transforms.Compose(MODELS[model][1])
    images = [prepare(Image.open(file).convert("RGB")) for file in files]
    with torch.no_grad():
        return np.asarray(made(torch.stack(images)).numpy())


def classes_of(number: int) -> str:
    """Return one of a class's names; which kind depends on its number."""
    names: list[str] = [str(number), LABELS[number].upper().replace(" ", "_"), synset(number)]
    return names[number % 3]


def synset(number: int) -> str:
    return str(ImageNetInfo().index_to_label_name(number))


@dataclass
class Case:
    """A model with drawn weights, and images in class folders with its answers by hand."""

    config: TrainConfig
    logits: NDArray[np.float32]
    label: NDArray[np.int64]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    found = {}
    for model in MODELS:
        root = tmp_path_factory.mktemp("published")
        made = weights_of(model, root / "weights.pth")
        files = [root / f"{number:02}.jpg" for number in range(len(RANKS))]
        for number, file in enumerate(files):  # wider and taller than square
            file.write_bytes(jpeg(number, *((200, 300), (330, 240))[number % 2]))
        logits = by_hand(model, made, files)
        ranked = np.argsort(-logits, axis=1, kind="stable")
        label = ranked[np.arange(len(RANKS)), RANKS]
        placed = []
        for file, number in zip(files, label.tolist(), strict=True):
            folder = root / "images" / classes_of(number)
            folder.mkdir(parents=True, exist_ok=True)
            placed.append(file.rename(folder / file.name))
        order = sorted(range(len(files)), key=lambda number: placed[number])
        config = TrainConfig(
            model=model, weights=str(root / "weights.pth"), dataset=f"folder:{root / 'images'}"
        )
        found[model] = Case(config, logits[order], label[order])
    return found


@pytest.mark.parametrize("model", MODELS)
def test_it_answers_what_its_library_answers(
    model: str, cases: dict[str, Case], tmp_path: Path
) -> None:
    case = cases[model]
    scores = evaluate_published(case.config, "all", World(), tmp_path / "out")
    assert scores.answers.label.tolist() == case.label.tolist()
    expected = torch.from_numpy(case.logits).double().softmax(1).numpy()
    np.testing.assert_allclose(
        np.exp(scores.answers.log_probability), expected, rtol=1e-3, atol=1e-7
    )
    loss = -np.log(expected[np.arange(len(RANKS)), case.label]).mean()
    assert scores.values() == {
        "accuracy": 5 / 12,
        "top5_accuracy": 9 / 12,
        "loss": pytest.approx(loss, rel=1e-5),
    }
    stored = Run(tmp_path / "out")
    assert stored.config() == case.config
    assert (stored.result() or {})["test_accuracy"] == 5 / 12
    lines = scores.lines()
    assert lines[1] == f"images, as published: {MODELS[model][2]}"
    count = len(set(case.label.tolist()))
    assert f"all images: 12 images of {count} of the 1,000 classes; " in lines[2]
    # 5 and 9 of 12: the interval of statsmodels' proportion_confint, method wilson
    assert lines[3].startswith("accuracy 41.67 % (for new images 19.33 to 68.05 %, n=12); ")
    assert lines[4].startswith("top-5 accuracy 75.00 % (for new images 46.77 to 91.11 %, n=12)")
    assert lines[5] == f"log loss {loss:.4f}"


def test_images_are_upright_as_a_viewer_shows_them(cases: dict[str, Case], tmp_path: Path) -> None:
    case = next(iter(cases.values()))
    turned = Image.Exif()
    turned[0x0112] = 3  # the camera was upside down
    for number in (1, 2):
        image = Image.open(io.BytesIO(jpeg(number, 200, 300)))
        for name, pixels, exif in (
            ("upright", image, Image.Exif()),
            ("turned", image.transpose(Image.Transpose.ROTATE_180), turned),
        ):
            folder = tmp_path / name / classes_of(number)
            folder.mkdir(parents=True)
            pixels.save(folder / "image.png", exif=exif)
    upright, as_stored = (
        evaluate_published(
            replace(case.config, dataset=f"folder:{tmp_path / name}"), "all", World()
        )
        for name in ("upright", "turned")
    )
    np.testing.assert_array_equal(
        upright.answers.log_probability, as_stored.answers.log_probability
    )


def test_two_that_saw_the_same_images_make_an_ensemble(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    case = cases["torchvision:squeezenet1_1"]
    other = replace(cases["timm:test_resnet"].config, dataset=case.config.dataset)
    runs = [Run(tmp_path / name) for name in "ab"]
    scores = [
        evaluate_published(config, "all", World(), run.path)
        for config, run in zip((case.config, other), runs, strict=True)
    ]
    mean = sum(np.exp(one.answers.log_probability) for one in scores[:2]) / 2
    np.testing.assert_allclose(combine(runs).mean.probability, mean, atol=1e-6)
    with pytest.raises(ConfigError, match="holds a run of another config: model is"):
        evaluate_published(other, "all", World(), runs[0].path)


def test_the_librarys_weights_need_no_file_and_have_its_figures_beside(
    cases: dict[str, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases["torchvision:squeezenet1_1"]
    lines = evaluate_published(case.config, "all", World()).lines()
    assert lines[0].endswith(
        "none of torchvision's files; images as for torchvision's IMAGENET1K_V1"
    )
    # torchvision's table of its weights: 58.178 and 80.624
    figure = "58.18 % of ImageNet's 50,000 validation images"
    assert lines[3].endswith(f"; published for torchvision's IMAGENET1K_V1: {figure}")
    (tmp_path / "weights").mkdir()
    shutil.copy(case.config.weights, tmp_path / "weights" / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path))
    scores = evaluate_published(replace(case.config, weights="imagenet"), "all", World())
    np.testing.assert_allclose(
        np.exp(scores.answers.log_probability),
        torch.from_numpy(case.logits).softmax(1).numpy(),
        atol=1e-6,
    )
    lines = scores.lines()
    assert lines[0].startswith("weights: torchvision's IMAGENET1K_V1, ")
    assert lines[3].endswith(f"; published: {figure}")
    assert lines[4].endswith("; published: 80.62 % of ImageNet's 50,000 validation images")
    lines = evaluate_published(cases["timm:test_resnet"].config, "all", World()).lines()
    assert lines[3].endswith("; the library publishes none")
    assert "published" not in lines[4]


def test_a_file_of_older_weights_is_known_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.pth"
    torch.save(torchvision.models.mobilenet_v2().state_dict(), path)
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(
        libraries,
        "_digest",
        lambda weights: own[:8] if weights.name == "IMAGENET1K_V1" else "00000000",
    )
    found = libraries.Torchvision().published("mobilenet_v2", path)
    assert found.origin == f"torchvision's IMAGENET1K_V1, {path}"
    assert "resized to 256 pixels" in found.preprocessing.text  # the newer ones': 232
    assert found.figures == {"accuracy": 0.71878, "top5_accuracy": 0.90286}


def test_timms_squashed_images_are_those_of_its_config() -> None:
    settings = timm.get_pretrained_cfg("eva02_tiny_patch14_336.mim_in22k_ft_in1k").to_dict()
    config = resolve_data_config(pretrained_cfg=settings)
    image = Image.open(io.BytesIO(jpeg(1, 200, 300)))
    squash, border = (
        Preprocessing.of_timm({**config, "crop_mode": mode}) for mode in ("squash", "border")
    )
    hand = transforms.Compose(
        [
            transforms.Resize((336, 336), InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(
                (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
            ),
        ]
    )
    torch.testing.assert_close(squash.apply(image), hand(image))
    assert squash.text.startswith("both sides resized to 336 pixels (bicubic), centre of 336 pixel")
    assert border.apply(image).shape == (3, 336, 336)
    assert border.text.startswith("longer side resized to 336 pixels, with a border (bicubic)")


@pytest.mark.parametrize("parts", [("train", "val"), ("train", "val", "test"), ()])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_has_the_images_that_a_trial_has_in_it(
    cases: dict[str, Case], tmp_path: Path, parts: tuple[str, ...], split: Split
) -> None:
    for number in range(60):
        part = parts[number % len(parts)] if parts else ""
        path = tmp_path / "images" / part / ("tench", "goldfish")[number // 3 % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    config = replace(cases["timm:test_resnet"].config, dataset=f"folder:{tmp_path / 'images'}")
    scores = evaluate_published(config, split, World())
    data = load(config, 8)
    assert scores.answers.index.tolist() == getattr(data, split).tolist()
    expected = 1 - data.labels[getattr(data, split)]  # goldfish, tench: 1, 0
    assert scores.answers.label.tolist() == expected.tolist()


def test_what_cannot_be_evaluated_says_why(cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases["torchvision:squeezenet1_1"]
    run = finished_run(tmp_path / "run", TrainConfig(), network_for(TrainConfig(filters=(4,))))
    torch.save(torchvision.models.squeezenet1_1(num_classes=10).state_dict(), tmp_path / "ten.pth")
    features = torchvision.models.squeezenet1_1().features.state_dict()
    bare = {f"features.{name}": tensor for name, tensor in features.items()}
    torch.save(bare, tmp_path / "bare.pth")
    torch.save({"code": Code()}, tmp_path / "code.pth")
    for changes, says in [
        ({"model": "cnn"}, "model = 'cnn': was never published"),
        ({"weights": "random"}, "drawn weights have no last layer to keep"),
        ({"weights": str(run.path)}, "is a run of this project; evaluate it with --run"),
        ({"weights": str(run.weights_path)}, "the weights of a run, not of a published classifier"),
        (
            {"weights": str(tmp_path / "ten.pth")},
            r"another shape: model\.classifier\.1\.bias \(10,",
        ),
        ({"weights": str(tmp_path / "bare.pth")}, r"missing: model\.classifier\.1\.bias"),
        ({"weights": str(tmp_path / "code.pth")}, "a file with code in it is refused"),
        ({"dataset": "digits"}, "the class '0' is none of the model's 1,000 classes"),
        (
            {"model": "timm:mvitv2_base_cls.fb_inw21k"},
            "does not say what its 19168 classes are",
        ),
    ]:
        with pytest.raises(ValueError, match=says):
            evaluate_published(TrainConfig.from_dict(changes, case.config), "all", World())
    assert not Path("ran").exists()
    with pytest.raises(ConfigError, match="holds a run of another config"):
        evaluate_published(case.config, "all", World(), run.path)
    finished_run(tmp_path / "same", case.config, network_for(TrainConfig(filters=(4,))))
    (tmp_path / "ensemble").mkdir()
    Run(tmp_path / "ensemble").write_result({"outcome": "finished"})
    for name in ("same", "ensemble"):
        with pytest.raises(ConfigError, match=f"{name} holds a trial or an ensemble, whose result"):
            evaluate_published(case.config, "all", World(), tmp_path / name)


def test_damaged_images_are_all_named_and_nothing_is_written(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    for number in range(130):
        path = folder / ("tench", "goldfish")[number % 2] / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    deep = Image.fromarray(np.full((40, 40), 7000, np.uint16))
    deep.save(folder / "goldfish" / "deep.png")
    (folder / "goldfish" / "001.jpg").write_bytes(b"nothing")
    (folder / "tench" / "128.jpg").write_bytes(b"nothing")
    config = replace(cases["timm:test_resnet"].config, dataset=f"folder:{folder}")
    with pytest.raises(ConfigError) as caught:
        evaluate_published(config, "all", World(), tmp_path / "out")
    assert len(caught.value.problems) == 3
    for name, says in (("001.jpg", "cannot"), ("128.jpg", "cannot"), ("deep.png", "8 bits")):
        (line,) = [line for line in caught.value.problems if name in line]
        assert " is not a readable image: " in line
        assert says in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_share_the_images_of_each_batch(size: int) -> None:
    index = np.arange(1000, 1401)
    worlds = [World(rank=rank, size=size) for rank in range(size)]
    gathered: list[int] = []
    for parts in zip(*(list(_shares(index, world)) for world in worlds), strict=True):
        numbers, counts = zip(*parts, strict=True)
        assert len({len(own) for own in numbers}) == len(set(counts)) == 1
        assert len(numbers[0]) <= 64
        gathered += np.array(numbers).T.flatten()[: counts[0]].tolist()  # as all_gather does
    assert gathered == index.tolist()
