"""Equality and ids of configs where a default has changed."""

import pickle
from dataclasses import replace
from pathlib import Path

from fieldtrial.config import EARLIER, TrainConfig
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Run
from fieldtrial.fields.former import OWN_MODELS
from fieldtrial.training.models.architectures import MODELS


def test_a_new_default_is_another_trial_only_where_it_means_something_else() -> None:
    vgg = TrainConfig(model="vgg11")
    assert vgg.id != replace(vgg, dropout=0.0).id
    assert vgg.differences(replace(vgg, dropout=0.0)) == {"dropout": (None, 0.0)}
    cnn = TrainConfig(model="cnn")
    assert cnn == replace(cnn, dropout=0.0, preprocessing="square")
    assert not cnn.differences(replace(cnn, dropout=0.0))
    for changes in (
        {"augmentation": ("random_resized_crop",)},
        {"model": "vgg11", "weights": "imagenet"},
    ):
        own = replace(cnn, **changes)
        assert own.id != replace(own, preprocessing="square").id


def test_a_config_that_an_earlier_version_pickled_has_its_defaults() -> None:
    config = TrainConfig(model="vgg11", weights="imagenet", dropout=0.0, preprocessing="square")
    del config.__dict__["preprocessing"]  # it has come since
    again = pickle.loads(pickle.dumps(config))
    assert again.preprocessing == "square"


def test_a_run_of_an_earlier_version_keeps_its_id_and_its_meaning(tmp_path: Path) -> None:
    written = EARLIER.to_dict() | {"model": "vgg11", "weights": "imagenet", "dropout": 0.0}
    del written["preprocessing"]  # it has come since
    write_json(tmp_path / "config.json", written)
    config = Run(tmp_path).config()
    assert (config.dropout, config.preprocessing) == (0.0, "square")
    # SHA-256 of {"model": "vgg11", "weights": "imagenet"}, as the earlier version hashed it
    assert config.id == "3043f24a"
    today = TrainConfig(model="vgg11", weights="imagenet")
    assert today.id != config.id
    assert Run(tmp_path).as_begun(today) == config
    assert Run(tmp_path).as_begun(today, ["dropout"]).dropout is None
    write_json(tmp_path / "config.json", config.to_dict())  # as today's version writes that
    assert Run(tmp_path).as_begun(today) == today
    assert TrainConfig(model="vgg11", dropout=0.5).as_begun(config).dropout == 0.5


def test_own_models_are_known_by_name() -> None:
    assert set(OWN_MODELS) == set(MODELS)


def test_runs_of_one_configuration_differ_in_seed_and_fold() -> None:
    one = TrainConfig(folds=3, lr=0.5)
    assert replace(one, fold=2, seed=7).configuration == one.configuration
    assert replace(one, folds=4).configuration != one.configuration
    assert TrainConfig(seed=7).configuration == TrainConfig().id
