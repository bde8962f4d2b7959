"""The program as it is when a sweep's jobs are submitted, copied into the sweep's folder: jobs that wait run that."""

import compileall
import hashlib
import secrets
import shutil
import subprocess
from pathlib import Path

import fieldtrial.config

PACKAGE = Path(fieldtrial.config.__file__).resolve().parent


def take_snapshot(folder: Path) -> Path:
    """Copy this package into a folder named by its content, in `folder`, and return that; once for each content.

    Beside the package stand the commit and what differs from it, where the package lies in a git work tree.
    """
    sources = sorted(PACKAGE.rglob("*.py"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(str(source.relative_to(PACKAGE)).encode() + b"\0" + source.read_bytes() + b"\0")
    target = folder.resolve() / digest.hexdigest()[:12]
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{target.name}-{secrets.token_hex(4)}"
    try:
        for source in sources:
            copy = aside / PACKAGE.name / source.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        # once, here: else each of the first jobs does it, at the same time
        compileall.compile_dir(aside, quiet=2, stripdir=str(aside), prependdir=str(target))
        (aside / "commit.txt").write_text(_git("rev-parse", "HEAD"))
        (aside / "diff.patch").write_text(_git("diff", "HEAD"))
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
