"""Ten classes of iNaturalist 2017 (Van Horn et al. 2018): nature_12K.zip of Weights & Biases."""

from pathlib import Path

from fieldtrial.training.data.dataset import TEST, TRAIN, Dataset
from fieldtrial.training.data.fetch.archive import Archive
from fieldtrial.training.data.sets.image_folder import image_folder

# No digest is published. A download is checked against the size and the MD5 sum that the server
# announces, and against the archive's check sum of each file.
ARCHIVE = Archive(
    dataset="inat10",
    folder="inaturalist_12K",
    inside="inaturalist_12K",
    names=("nature_12K.zip",),
    url="https://storage.googleapis.com/wandb_datasets/nature_12K.zip",
    wanted=lambda name: name.startswith("inaturalist_12K/") and not Path(name).name.startswith("."),
)


def inat10(root: Path) -> Dataset:
    """Return the images of `root`/inaturalist_12K/{train,val}/CLASS; val is the test set."""
    return image_folder(ARCHIVE.obtain(root), ARCHIVE.dataset, {"train": TRAIN, "val": TEST})
