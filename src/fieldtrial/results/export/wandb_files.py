"""Export to Weights & Biases, offline: a folder of W&B's own for each trial, which it can upload.

A folder is written elsewhere on the same disk and moved into place whole, so that none is half
there. Its name has the run's id, made from the trial's key, and a file in it says what of the trial
it holds: where that is what it must be, nothing is done, and where it is not, the folder is
replaced.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import write_json
from fieldtrial.fields.printable import counted
from fieldtrial.results.export.content import ExportedRow, ExportedSweep, ExportedTrial, digest_of
from fieldtrial.results.export.staging import copy_files

HELD = "fieldtrial.json"  # in a run's folder: what it holds
LONGEST_TAG = 64  # letters
QUIET = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}  # nothing is sent or printed


def export_wandb(content: ExportedSweep, folder: Path) -> str:
    """Bring the runs in folder/wandb up to date, and return what was done and how it is uploaded.

    Raises:
        ValueError: wandb cannot be imported.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import wandb
    except ImportError as error:
        raise ValueError(f"--to wandb: {error}") from error
    target, unfinished = folder / "wandb", f".{_id(content.name)}-"
    target.mkdir(parents=True, exist_ok=True)
    for left in target.glob(f"{unfinished}*"):  # of an export that was killed
        shutil.rmtree(left)
    known = {run.name.rpartition("-")[2]: run for run in target.glob("offline-run-*")}
    rows = {row.number: row for row in content.rows}
    changed = 0
    with contextlib.ExitStack() as stack:
        for trial in content.trials:
            row = None if trial.row is None else rows.get(trial.row)
            digest = digest_of([trial.digest, row and [row.tags, row.values]])
            own = _id(trial.key)
            if own in known and _held(known[own]) == digest:
                continue
            if not changed:
                stack.callback(wandb.teardown)
            with tempfile.TemporaryDirectory(prefix=unfinished, dir=target) as temporary:
                made = _write(wandb, content, trial, row, Path(temporary), own)
                write_json(made / HELD, {"key": trial.key, "digest": digest})
                if own in known:
                    shutil.rmtree(known[own])
                made.rename(target / made.name)
            changed += 1
    return (
        f"wandb project {content.name} in {target}: {counted(changed)} of {len(content.trials):,}"
        f" new or changed; wandb sync {target}/offline-run-* uploads them"
    )


def _id(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _held(run: Path) -> str:
    """Return the digest of what a run's folder holds; nothing if it is none of an export."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((run / HELD).read_text())["digest"])
    return ""


def _write(
    wandb: Any,
    content: ExportedSweep,
    trial: ExportedTrial,
    row: ExportedRow | None,
    folder: Path,
    own: str,
) -> Path:
    """Write a trial's run into the folder, and return the run's own folder in it."""
    tags = [trial.tags["role"], trial.tags["outcome"], trial.tags["verdict"]]
    tags += ["winner"] if trial.tags["winner"] == "true" else []
    about = {name: value for name, value in trial.tags.items() if value}
    run = wandb.init(
        project=content.name,
        id=own,
        name=trial.name,
        group=row.name if row else trial.tags["role"],
        job_type=trial.tags["role"],
        tags=[tag[:LONGEST_TAG] for tag in dict.fromkeys(tags) if tag],
        config={**trial.parameters, "fieldtrial": about},
        dir=os.fspath(folder),
        mode="offline",
        reinit="create_new",
        settings=wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
        ),
    )
    for epoch in trial.epochs:
        run.log(dict(epoch.values), step=epoch.number)
    run.summary.update(trial.results)
    if row:
        run.summary.update({f"row/{name}": value for name, value in row.values.items()})
    files = Path(run.dir)
    for copy in copy_files(trial.files, files):
        run.save(os.fspath(copy), base_path=os.fspath(files), policy="end")
    run.finish(exit_code=0 if trial.is_good or not trial.is_over else 1)
    return files.parent
