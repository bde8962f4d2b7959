"""What the trials of a sweep ran on, and why some of them failed, from their directories."""

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pandas as pd

from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.results.read.trials import FAILED
from fieldtrial.results.read.wording import few

MOST_ENVIRONMENTS = 10
MOST_NAMES = 8
MOST_EXAMPLES = 5
LONGEST_REASON = 400
PROJECT = ("project_commit", "project_dirty")  # of own parts
OF_ONE_ATTEMPT = ("process", "job", "host")  # what differs between attempts in one environment


def read_attempts(
    folder: SweepFolder, trials: pd.DataFrame
) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Return {trial: {attempt: what it ran on}}, empty where env.json cannot be read."""
    return {name: _environments(folder.run(name)) for name in trials["trial"].drop_duplicates()}


def log_files(
    folder: SweepFolder, attempts: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, str]:
    """Return {trial: its last attempt's log}, relative to the run directory, where there is one."""
    logs = {}
    for name, known in attempts.items():
        run = folder.run(name)
        path = run.log_path(max(map(int, known), default=1))
        with contextlib.suppress(RefusedError):
            if path.exists():
                logs[name] = path.path.relative_to(run.path).as_posix()
    return logs


def environments(attempts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return title and facts of each kind of environment, the most frequent first."""
    kinds: Counter[str] = Counter()
    hosts: dict[str, Counter[str]] = {}
    for known in attempts.values():
        for environment in known.values():
            shared = {
                name: value for name, value in environment.items() if name not in OF_ONE_ATTEMPT
            }
            key = json.dumps(shared, sort_keys=True)
            kinds[key] += 1
            hosts.setdefault(key, Counter())[environment.get("host", "unknown")] += 1
    common = kinds.most_common(MOST_ENVIRONMENTS)
    found = [_environment(json.loads(key), count, hosts[key]) for key, count in common]
    if left := len(kinds) - len(common):
        rest = sum(kinds.values()) - sum(count for _, count in common)
        found.append({"title": f"{left} further kinds", "facts": {"attempts": f"{rest:,}"}})
    return found


def failures(
    folder: SweepFolder, trials: pd.DataFrame, logs: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return the failed trials, by kind and reason, or None if there is none."""
    failed = trials[trials["outcome"].isin(FAILED)].drop_duplicates("trial")
    if failed.empty:
        return None
    groups: list[dict[str, Any]] = []
    # Messages that differ in numbers alone count as one.
    texts = failed["error_message"].fillna("").astype(str).str.replace(r"\d+", "#", regex=True)
    for (kind, _), alike in failed.groupby(
        [failed["error_kind"].fillna("unknown"), texts], sort=False
    ):
        message = str(alike["error_message"].iloc[0])
        names = list(alike["trial"].head(MOST_EXAMPLES))
        examples = [
            {
                "name": name,
                "log": f"./{quote(folder.place_of(name))}/{logs[name]}" if name in logs else "",
            }
            for name in names
        ]
        shortened = (
            message if len(message) <= LONGEST_REASON else message[: LONGEST_REASON - 1] + "…"
        )
        groups.append({"kind": kind, "count": len(alike), "trials": examples, "message": shortened})
    groups.sort(key=lambda group: -group["count"])
    shown = groups[:MOST_ENVIRONMENTS]
    unseen = sum(group["count"] for group in groups[len(shown) :])
    lead = f"{len(failed):,} of {trials['trial'].nunique():,} trials have failed, for these reasons"
    lead += (
        f"; {unseen:,} of them for others, which outcome=failed in the filter shows."
        if unseen
        else "."
    )
    return {"lead": lead, "groups": shown}


def _environments(run: Run) -> Mapping[str, Mapping[str, Any]]:
    try:
        return run.environment()
    except (OSError, UnreadableError):
        return {}


def _environment(shared: dict[str, Any], count: int, hosts: Counter[str]) -> dict[str, Any]:
    devices, versions = _listed(Counter(shared.get("devices", []))), shared.get("versions", {})
    facts = {
        "devices": f"{devices or 'unknown'}; {shared.get('world_size', 1)} to a trial",
        "hosts": _listed(hosts),
        "commit": _commit(shared, "commit", "dirty"),
        **({"own code": _commit(shared, *PROJECT)} if PROJECT[0] in shared else {}),
        "Python": str(shared.get("python", "unknown")),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items())
        or "unknown",
        "system": str(shared.get("platform", "unknown")),
        "cores, threads": f"{shared.get('cores', 'unknown')}, {shared.get('threads', 'unknown')}",
    }
    return {
        "title": f"{counted(count, 'attempt')} on {devices or 'unknown devices'}",
        "facts": facts,
    }


def _commit(shared: Mapping[str, Any], commit: str, dirty: str) -> str:
    changes = ", with uncommitted changes (changes-*.diff in the run)" if shared.get(dirty) else ""
    return (shared.get(commit) or "unknown")[:12] + changes


def _listed(names: Counter[str]) -> str:
    parts = [
        name if count == 1 or len(names) == 1 else f"{name} ({count:,})"
        for name, count in names.most_common()
    ]
    return few(parts, MOST_NAMES)
