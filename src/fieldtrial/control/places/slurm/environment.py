"""The environment of SLURM's commands, and so of the jobs that sbatch submits."""

import os
import re

from fieldtrial.fields.switches import SWITCHES
from fieldtrial.own.project import TRUSTED

# A user's defaults for SLURM's commands could hide jobs, or submit others than intended.
DEFAULTS = ("SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SACCTMGR_", "SINFO_")
# Variables of a job that this program runs in: the jobs that it submits would take them for their
# own.
JOBS_OWN = re.compile(r"SLURMD?_.*|(LOCAL_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)")
# The same, but only inside of a job: elsewhere they are the user's.
JOBS_PLACES = re.compile(
    r"PMIX?_.*|OMPI_.*|TMPDIR|TMP|TEMP|TEMPDIR|(CUDA|HIP|ROCR)_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|ZE_AFFINITY_MASK"
)
# What a job needs to know of its driver's environment, whatever a site does with the rest.
CARRIED = (
    "FIELDTRIAL_DATA", "FIELDTRIAL_CACHE", "FIELDTRIAL_CHECKPOINT_SECONDS", TRUSTED, *SWITCHES,
)  # fmt: skip


def command_environment() -> dict[str, str]:
    """Return this process's environment for a command of SLURM.

    It has no user's defaults for such commands, nothing of a job that this process runs in, and
    makes lists of any length.
    """
    is_in_job = "SLURM_JOB_ID" in os.environ
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(DEFAULTS)
        and (name == "SLURM_CONF" or not JOBS_OWN.fullmatch(name))
        and not (is_in_job and JOBS_PLACES.fullmatch(name))
    }
    return kept | {"SLURM_BITSTR_LEN": "0"}


def carried() -> dict[str, str]:
    """Return the variables that each job gets by its script."""
    return {name: os.environ[name] for name in CARRIED if name in os.environ}
