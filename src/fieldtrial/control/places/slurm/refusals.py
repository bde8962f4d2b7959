"""What sbatch says when it refuses jobs: whether that is for good, and which keys may be why."""

import contextlib
import os
import re

from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import SlurmOutageError

# Words of a request that SLURM will never accept, of SLURM's own list (slurm_errno.c). Other
# refusals pass, such as full limits. Of the limits of accounting, a submission is only checked for
# those on how many jobs there are, which pass, and for what a job asks for by itself: that is more
# than one user, one account or a whole group may ever have (acct_policy.c).
HOPELESS = re.compile(
    r"nvalid|not available|than permitted|not permitted|nrecognized|equested time limit"
    r"|emory specification|ermission denied|ccess denied|utually exclusive|not supported"
    r"|nsupported|dependency problem|not in this partition|No partition specified"
    r"|needs to be provided|parameter too long|Duplicate generic resource|threads per core"
    r"|RestrictedCoresPerGPU|sbatch: fatal|MaxMemPerLimit"
    r"|\b(QOS|Assoc)(Max|Min|Grp)(?!\w*(Submit|Jobs))\w",
)
# Words of refusals that look alike and pass: a node or a partition in maintenance, a failure of
# munge, and a controller or a server of configurations that is away.
PASSING = re.compile(
    r"inactive or drain|down, drained|available now|usable now|credential|uthentication"
    r"|onfiguration source|onfiguration file|emporarily|imed out|nable to contact"
)
NO_SLURM = re.compile(r"no such command")
# Words of a refusal, and the keys of a place that may be the reason.
RESOURCES = (
    *("gpus_per_trial", "gpus_per_node", "gpu_type", "processes_per_trial"),
    *("cpus_per_process", "memory_gb_per_process", "constraint"),
)
KEYS: dict[str, tuple[str, ...]] = {
    r"partition": ("partitions",),
    r"account\b": ("account",),
    r"qos": ("qos",),
    r"feature|constraint": ("constraint",),
    r"time.?limit|Wall|Minutes|--time\b": ("time_limit_minutes",),
    r"mem(ory)?\b|MemPer": ("memory_gb_per_process",),
    r"gres\b|tres\b|(?<!per-)gpus?\b": ("gpus_per_trial", "gpus_per_node", "gpu_type"),
    r"(?<!per-)cpu|processor": ("cpus_per_process", "processes_per_trial"),
    r"node (configuration|count)|(QOS|Assoc)(Max|Min|Grp)": RESOURCES,
}
VARIABLES = {
    "partitions": "SBATCH_PARTITION",
    "account": "SBATCH_ACCOUNT",
    "qos": "SBATCH_QOS",
    "constraint": "SBATCH_CONSTRAINT",
}
CONFIGURATION = "node configuration"  # what no node has


def is_hopeless(refusal: str) -> bool:
    """Return whether SLURM will never accept such a job."""
    return HOPELESS.search(refusal) is not None and not PASSING.search(refusal)


def explained(refusal: str, settings: SlurmSettings) -> str:
    """Return a refusal in a line, with what the place asks for, and what the nodes have if that
    matters.
    """
    parts = [line.rstrip(".") for line in refusal.splitlines() if line]
    if keys := _keys(refusal, settings):
        parts.append(f"the place asks for {', '.join(keys)}")
    if CONFIGURATION in refusal:
        with contextlib.suppress(SlurmOutageError):
            kinds = slurm_commands.node_kinds(settings.partitions)
            parts.append(f"the nodes that there are: {'; '.join(kinds)}")
    return "; ".join(parts)


def _keys(refusal: str, settings: SlurmSettings) -> list[str]:
    """Return the keys and values that a refusal may be about, as the place's file has them."""
    found = []
    meant = [keys for words, keys in KEYS.items() if re.search(words, refusal, re.IGNORECASE)]
    for name in dict.fromkeys(name for keys in meant for name in keys):
        variable = VARIABLES.get(name, "")
        if value := getattr(settings, name):
            found.append(f"{name} = {list(value) if isinstance(value, tuple) else value!r}")
        elif variable in os.environ:
            found.append(f"${variable} = {os.environ[variable]!r}")
    options = [name for name in settings.sbatch if _is_named(name, refusal)]
    has_read = not (PASSING.search(refusal) or NO_SLURM.search(refusal))
    if has_read and not (found or options):
        options = list(settings.sbatch)  # of which any may be meant
    return found + [f"[sbatch] {name} = {settings.sbatch[name]!r}" for name in options]


def _is_named(option: str, refusal: str) -> bool:
    """Return whether a refusal names an option of sbatch, with dashes or as a word."""
    stem = re.escape(option.replace("_", "-").removesuffix("s"))
    return re.search(rf"(?<![\w-])(--)?{stem}s?(?![\w-])", refusal, re.IGNORECASE) is not None
