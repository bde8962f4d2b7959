"""The ten-class cut of iNaturalist 2017 (Van Horn et al. 2018) that Weights & Biases give out as
nature_12K.zip.
"""

from pathlib import Path

from fieldtrial.training.data.fetch.folder import Archive
from fieldtrial.training.data.sets.image_folder import image_folder
from fieldtrial.training.data.source import TEST, TRAIN, Source

# No digest is published. A download is held against the size and the MD5 sum that the server
# announces, and against the check sum that the archive has for each of its files.
ARCHIVE = Archive(
    dataset="inat10",
    folder="inaturalist_12K",
    inside="inaturalist_12K",
    names=("nature_12K.zip",),
    url="https://storage.googleapis.com/wandb_datasets/nature_12K.zip",
    wanted=lambda name: name.startswith("inaturalist_12K/") and not Path(name).name.startswith("."),
)


def inat10(root: Path) -> Source:
    """Return the images of `root`/inaturalist_12K/{train,val}/CLASS; val is the test set. Raises
    ConfigError.
    """
    return image_folder(ARCHIVE.obtain(root), ARCHIVE.dataset, {"train": TRAIN, "val": TEST})
