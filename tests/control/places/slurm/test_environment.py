"""What a job learns of its driver's environment."""

import re
from pathlib import Path

from fieldtrial.control.places.slurm.environment import CARRIED
from fieldtrial.own.project import TRUSTED

ROOT = Path(__file__).parents[4]
VARIABLE = re.compile(r"FIELDTRIAL_[A-Z_]+")
OF_DRIVERS = {"control", "results", "panel"}  # the rest of the library runs in jobs, too


def test_a_job_has_every_switch_of_what_it_runs() -> None:
    source = ROOT / "src" / "fieldtrial"
    modules = [
        path for path in source.rglob("*.py") if path.relative_to(source).parts[0] not in OF_DRIVERS
    ]
    read = {name for path in modules for name in VARIABLE.findall(path.read_text())}
    page = (ROOT / "docs" / "environment.md").read_text()
    set_by_itself = set(VARIABLE.findall(page.partition("## Set by Fieldtrial itself")[2]))
    assert set_by_itself & read, "the page has another heading"
    # Trust is no switch: the driver sets it, and its jobs need it.
    assert (read - set_by_itself) | {TRUSTED} == set(CARRIED)
