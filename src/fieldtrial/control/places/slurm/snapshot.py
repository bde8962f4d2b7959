"""A copy of the program in the sweep's folder, so that edits do not affect jobs that wait."""

import compileall
import hashlib
import secrets
import shutil
from pathlib import Path

import fieldtrial.config
from fieldtrial.disk.files import write_atomically
from fieldtrial.git import changes, commit

PACKAGE = Path(fieldtrial.config.__file__).resolve().parent


def take_snapshot(folder: Path) -> Path:
    """Copy this package to a subfolder of `folder` named by its content, and return the subfolder.

    Beside the package are the commit and the uncommitted changes, if it is in a git work tree.
    """
    sources = sorted(PACKAGE.rglob("*.py"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(
            str(source.relative_to(PACKAGE)).encode() + b"\0" + source.read_bytes() + b"\0"
        )
    target = folder.resolve() / digest.hexdigest()[:12]
    if not target.exists():
        _copy(sources, target)
    facts = {
        "commit.txt": f"{commit(PACKAGE) or ''}\n".lstrip().encode(),
        "diff.patch": changes(PACKAGE) or b"",
    }
    for name, content in facts.items():  # the same content may be committed by now
        if not (target / name).exists() or (target / name).read_bytes() != content:
            write_atomically(target / name, content)
    return target


def _copy(sources: list[Path], target: Path) -> None:
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{target.name}-{secrets.token_hex(4)}"
    try:
        for source in sources:
            copy = aside / PACKAGE.name / source.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        # Here, once: otherwise all of the first jobs would compile at the same time.
        compileall.compile_dir(aside, quiet=2, stripdir=str(aside), prependdir=str(target))
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
