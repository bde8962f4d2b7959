"""Should a detector's backbone be frozen when it is fine-tuned on a small set of labelled vehicles?

python sweeps/vehicles_finetune.py [--cluster NAME]

Report 000, part C, takes a detector of COCO's classes as it is. Here YOLOv3-tiny learns the
vehicles of one street: boxes:vehicles is a folder in $FIELDTRIAL_DATA, with COCO's JSON or YOLO's
texts, and yolov3-tiny.weights is darknet's file, in weights/ there. For YOLOv3 itself add
--set model=darknet:yolov3 --set weights=yolov3.weights. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each of the two ways."""
    base = TrainConfig(
        task="detection", dataset="boxes:vehicles", model="darknet:yolov3-tiny",
        weights="yolov3-tiny.weights", image_size=416, epochs=30,
        batch_size=16, schedule="cosine", warmup_fraction=0.1, gradient_clip=10.0,
        augmentation=("random_resized_crop", "horizontal_flip", "color_jitter"),
    )  # fmt: skip
    return Sweep(
        base=base,
        rows=grid(freeze=["none", "backbone"]),
        search={"lr": loguniform(1e-5, 1e-2)},
        trials=8,
        seeds=3,
        select="validation_map",
    )


if __name__ == "__main__":
    main(sweep)
