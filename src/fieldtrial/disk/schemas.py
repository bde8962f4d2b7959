"""What the JSON of run directories and sweeps' folders must be like, for `reading.decode`.

A key that is not named here may be there: tables show what a result holds beside the known.
"""

from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

from msgspec import Meta

MOST_ENTRIES = 1000  # of a result or a record: each is a column of a table
LIMITED = Meta(max_length=MOST_ENTRIES)
# Numbers that a column of a table can hold.
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]  # of an epoch, an attempt, a row, a process
Metric = Annotated[float, Meta(ge=-1e40, le=1e40)]  # whose squares are finite
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Energy = Annotated[float, Meta(ge=0, le=1e15)]
Share = Annotated[float, Meta(ge=0, le=1)]
Ratio = Annotated[float, Meta(ge=0, le=1000)]  # to what should be most
Attempt = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,8})$")]
# A name in a folder: of a run directory in its sweep's.
Name = Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[^/\x00]+$", max_length=255)]

# How parts are cut: by the images' places in the data set, as earlier versions did, or by what the
# images contain.
Cut = Literal["position", "content"]
BY_POSITION: Cut = "position"
BY_CONTENT: Cut = "content"

# The entry of a result that names the own metrics of which small values are good.
SMALL_IS_BETTER = "small_is_better"

Values = Annotated[
    dict[str, bool | Whole | float | str | list[Any] | dict[str, Any] | None], LIMITED
]
Anything = Annotated[dict[str, Any], LIMITED]
Fields = dict[str, Any]  # config fields, whose types and rules TrainConfig has


class Scores(TypedDict, total=False):
    """Metrics, in results and records."""

    train_accuracy: Metric | None
    train_loss: Metric | None
    validation_accuracy: Metric | None
    validation_loss: Metric | None
    validation_macro_f1: Metric | None
    validation_auc: Metric | None
    validation_top5_accuracy: Metric | None
    validation_map: Metric | None
    validation_map50: Metric | None
    validation_micro_f1: Metric | None
    validation_mae: Metric | None
    validation_rmse: Metric | None
    validation_r2: Metric | None
    test_accuracy: Metric | None
    test_loss: Metric | None
    test_macro_f1: Metric | None
    test_auc: Metric | None
    test_top5_accuracy: Metric | None
    test_map: Metric | None
    test_map50: Metric | None
    test_micro_f1: Metric | None
    test_mae: Metric | None
    test_rmse: Metric | None
    test_r2: Metric | None
    best_epoch: Number | None
    images_per_second: Seconds | None
    peak_memory_mb: float | None


class Result(Scores, total=False):
    """How a trial ended: result.json."""

    outcome: Required[Literal["finished", "stopped"]]
    reason: str | None
    epochs: Number | None
    attempt: Number | None
    accumulate: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None
    minutes: Seconds | None
    epoch_minutes: Seconds | None
    minutes_alone: Seconds | None
    device_hours: Seconds | None
    features_device_hours: Seconds | None
    energy_kwh: Energy | None
    energy_shared: bool | None
    parameters: Count | None
    trainable_parameters: Count | None
    flops: Count | None
    class_names: list[str] | None
    small_is_better: list[str] | None


class Failure(TypedDict, total=False):
    """Why an attempt failed: error.json."""

    kind: Required[str]
    message: Required[str]
    attempt: Required[Number]
    details: str
    time: float


class Record(Scores, total=False):
    """An epoch: a line of metrics-N.jsonl."""

    epoch: Required[Number]
    attempt: Number | None
    time: Seconds | None
    seconds: Seconds | None
    group_seconds: Seconds | None
    held_seconds: Seconds | None
    alone_seconds: Seconds | None
    energy_joules: Energy | None
    data_wait: Share | None
    utilization: Ratio | None
    lr: float | None
    gradient_norm: float | None
    update_ratio: float | None
    world_size: Number | None


class Environment(TypedDict, total=False):
    """What an attempt ran on: a value of env.json."""

    commit: str | None
    dirty: bool | None
    host: str
    platform: str
    cores: Number
    threads: Number
    devices: list[str]
    world_size: Annotated[int, Meta(ge=1, le=2**20)]
    python: str
    versions: dict[str, str]
    process: Number
    held_seconds: Seconds
    energy_joules: Energy
    energy_shared: bool
    job: dict[str, str]
    accumulate: Number
    compile: str
    together: Number
    project_commit: str | None
    project_dirty: bool | None


class FeatureCost(TypedDict):
    """What kept features have cost: beside them in the cache."""

    seconds: Seconds


class KnownFile(TypedDict):
    """A file that numbers depend on."""

    file: str
    sha256: str


class WeightsFile(KnownFile):
    """The file that a trial's initial weights came from."""

    tag: str | None  # that the library gives it


class Inputs(TypedDict, total=False):
    """What a trial's numbers depend on beside its config and the code: inputs.json.

    cut: how parts are cut. data: a digest of the classes, and of each image's class, part and
    content. parts: one of which images train, select and test. classes: how many images each class
    has. store: the name of the decoded data. remarks: on the data, a line each. weights: those that
    the trial starts from, None where they are drawn. model: the file that describes the network,
    None where a library has it. versions: of the libraries that numbers depend on. recipe: how
    images became squares, in words; see `recorded` in training/data/recipe. draws: the version of
    the random numbers of augmentation, where there is any; without it, the first. own: the SHA-256
    of the source of each own part, by its name; none without own parts.
    """

    cut: Required[Cut]
    data: Required[str]
    parts: str
    classes: dict[str, Count]
    store: Name
    remarks: list[str]
    weights: WeightsFile | None
    model: KnownFile | None
    versions: dict[str, str]
    recipe: str
    draws: Count
    own: dict[str, str]


class SweepCut(TypedDict, total=False):
    """What sweep.json says of the sweep's data; older ones say nothing."""

    cut: Cut


class SweepInputs(TypedDict, total=False):
    """What all trials of a sweep on one data set share, with one file of weights, or a model's, or
    one own part.
    """

    data: str
    classes: dict[str, Count]
    store: Name
    weights: WeightsFile
    model: KnownFile
    own: dict[str, str]


class Entry(TypedDict, total=False):
    """A line of a sweep's list of trials."""

    trial: Required[Name | None]
    row: Required[Number | None]
    role: Required[Literal["source", "search", "finalist", "winner", "final"]]
    search: Number


class Owner(TypedDict, total=False):
    """The driver that runs a sweep: driver.json."""

    user: Required[str]
    host: Required[str]
    process: Required[Annotated[int, Meta(ge=1, le=2**31 - 1)]]
    started: Count | None
    token: str
    since: float
    beat: Count


class Command(TypedDict):
    """The command that runs a sweep: command.json."""

    words: list[str]
    directory: str


class Progress(TypedDict, total=False):
    """How far a trial is, in its checkpoints."""

    epoch: Required[Number]
    best_epoch: Required[Number]
    best: dict[str, float]
    best_loss: float  # of earlier versions, and so is the next
    best_accuracy: float
    rising_epoch: Number
    plateaus: Number
    plateau_epoch: Number
    least_loss: float
    seconds: float
    alone_seconds: float | None


class Checkpoint(TypedDict):
    """A checkpoint: its tensors are anything here, torch has read them."""

    config: Fields
    model: dict[str, Any]
    unaveraged: NotRequired[dict[str, Any]]  # of a model that is an average
    frozen: NotRequired[str | None]  # without it, the model is whole
    optimizer: dict[str, Any]
    loss: NotRequired[dict[str, Any]]  # older ones lack it
    inputs: NotRequired[Inputs]  # and this
    progress: Progress
    record: dict[str, Any]
    facts: dict[str, Any]
