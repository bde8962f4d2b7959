"""The models of timm, which is imported on first use."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.models.categories import imagenet_categories
from fieldtrial.training.models.libraries import Pretraining
from fieldtrial.training.models.library.dropout import Rate, drop_in_blocks, with_rates
from fieldtrial.training.models.library.heads import require_one_head
from fieldtrial.training.models.library.origins import DATA, UNKNOWN, Origin, choose, data_of
from fieldtrial.training.models.pretrained import hub_file, hugging_face_file
from fieldtrial.training.models.published import Preprocessing, Published
from fieldtrial.training.models.weights import load_whole, read_state


class Timm:
    """The models of timm.

    A name may carry a weights tag, such as resnet18.a1_in1k, or be an older one (xception).
    """

    def names(self) -> list[str]:
        """See Library."""
        import timm

        return [*timm.list_models(), *timm.list_models(pretrained=True)]

    def has(self, name: str) -> bool:
        """See Library."""
        import timm

        name = self._current(name)
        return bool(timm.is_model(name)) and (
            "." not in name or name in timm.list_models(pretrained=True)
        )

    def tagged(self, name: str, tag: str) -> str:
        """See Library."""
        import timm

        model, _, own = self._current(name).partition(".")
        prefix = f"{model}."
        known = [
            one.removeprefix(prefix)
            for one in timm.list_models(f"{prefix}*", pretrained=True)
            if not own or one == f"{prefix}{own}"
        ]
        return prefix + choose(f"timm:{name}", tag, known)

    def origin(self, name: str) -> Origin:
        """See Library. timm's tags say the recipe, then the data."""
        settings = self._settings(name)
        name, tag = self._current(name).partition(".")[0], settings.tag or ""
        data = [part for part in tag.split("_") if part in DATA]
        recipe = tag.partition("_" + data[0])[0] if data and not tag.startswith(data[0]) else ""
        return Origin(f"timm:{name}.{tag}".rstrip("."), data_of(tag), recipe or UNKNOWN)

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        settings = self._settings(name)
        side = settings.input_size[-1]
        recipe = Recipe(
            "both sides" if settings.crop_mode == "squash" else "shorter side",
            math.floor(side / settings.crop_pct),
            settings.interpolation,
            side,
        )
        return Pretraining(side, tuple(settings.mean), tuple(settings.std), recipe)

    def channels(self, _data_channels: int) -> int:
        """See Library."""
        return 3

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library."""
        import timm

        name = self._current(name)
        arguments: dict[str, Any] = self._size_argument(name, shape.image_size)
        if name.startswith("volo_"):  # its second classifier, which trains on tokens' labels
            arguments["use_aux_head"] = False
        model = with_rates(
            name,
            lambda **more: timm.create_model(name, num_classes=shape.classes, **arguments, **more),
            Rate("dropout", "drop_rate", config.dropout),
            Rate("stochastic_depth", "drop_path_rate", config.stochastic_depth),
        )
        head: Any = getattr(model, "get_classifier", lambda: None)()  # some encoders have none
        names = [layer for layer, module in model.named_modules() if module is head]
        if not names or not any(True for _ in head.parameters()):
            raise ValueError(
                f"model = 'timm:{name}': it has no single last layer that could be trained anew"
            )
        require_one_head(f"timm:{name}", names[0], tuple(arguments.items()))
        drop_in_blocks(model, config)
        return model, names[0]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        import timm

        name = self._current(name)
        settings = self._settings(name)
        if settings.hf_hub_id:
            path, changes = hugging_face_file(f"timm:{name}", settings), {"custom_load": False}
        elif settings.url:
            path, changes = hub_file(f"timm:{name}", settings.url), {}
        else:
            raise ValueError(f"weights = 'imagenet': timm has no pretrained weights of {name}")
        if settings.hf_hub_id or not settings.custom_load:
            # Raises where the file holds code, which older releases of timm would run. Files with a
            # custom loader are numpy's, and are read without pickles.
            read_state(path)
        try:  # timm itself fits its weights to the image size and the model's layout
            model = timm.create_model(
                name,
                pretrained=True,
                pretrained_cfg_overlay={"file": str(path), **changes},
                num_classes=settings.num_classes,
                **self._size_argument(name, image_size),
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: not the weights of timm:{name}: {reason}") from None
        return model.state_dict(), path

    def published(self, name: str, file: Path | None) -> Published:
        """See Library. Images have the size that timm's own validation takes."""
        import timm
        from timm.data import infer_imagenet_subset, resolve_data_config

        name = self._current(name)
        settings = self._settings(name).to_dict()
        subset = infer_imagenet_subset(settings)
        if subset is None:
            count = settings.get("num_classes")
            raise ValueError(
                f"model = 'timm:{name}': timm does not say what its {count} classes are"
            )
        images = resolve_data_config(pretrained_cfg=settings, use_test_size=True)
        size = images["input_size"][-1]
        arguments = {"num_classes": settings["num_classes"], **self._size_argument(name, size)}
        model = timm.create_model(name, **arguments)
        state, path = (read_state(file), file) if file else self.imagenet(name, size)
        load_whole(model, state, path)
        return Published(
            model=model.eval(),
            origin=str(path),
            categories=imagenet_categories(subset),
            preprocessing=Preprocessing.of_timm(images),
        )

    def _settings(self, name: str) -> Any:
        from timm.models import get_pretrained_cfg

        return get_pretrained_cfg(self._current(name))

    def _current(self, name: str) -> str:
        """Return timm's present name of the model."""
        from timm.models import get_deprecated_models

        return get_deprecated_models().get(name) or name

    def _size_argument(self, name: str, image_size: int) -> dict[str, int]:
        return {"img_size": image_size} if self._settings(name).fixed_input_size else {}
