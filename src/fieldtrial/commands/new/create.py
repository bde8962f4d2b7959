"""Make a project: fieldtrial new DIR

It writes a first sweep, places, batch files for SLURM, a README and a .gitignore into DIR, which is
new, or has none of these files.
"""

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fieldtrial.command_line import job, job_parser, parse, say
from fieldtrial.control.places.lookup import SHIPPED
from fieldtrial.processes import python

TEMPLATE = Path(__file__).with_name("template")
BATCH = ("slurm/finetune.sh", "slurm/sweep.sh")
# What stands for the command that trains in a project, which has no jobs/.
TRAIN = "-m fieldtrial train"


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, print their paths, and say what to type next."""
    parser = job_parser(__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
    folder = parse(parser, arguments).folder
    create(folder, project_files(python()[0]))
    say(f"cd {shlex.quote(str(folder))}\nfieldtrial run sweeps/first.py --smoke")
    return 0


def project_files(interpreter: str) -> dict[str, str]:
    """Return the texts of a new project's files by their paths in it.

    interpreter: the Python that its batch files start.
    """
    texts = {
        "README.md": _read("README.md"),
        ".gitignore": _read("gitignore"),
        "sweeps/first.py": _read("first.py"),
    }
    texts |= {f"cluster/{path.name}": path.read_text() for path in sorted(SHIPPED.glob("*.toml"))}
    return texts | {name: batch_file(name, interpreter, TRAIN) for name in BATCH}


def batch_file(name: str, interpreter: str, train: str) -> str:
    """Return the text of a batch file. train: how its Python starts the training of a run."""
    text = _read(Path(name).name)
    return text.replace("@PYTHON@", shlex.quote(interpreter)).replace("@TRAIN@", train)


def create(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the files into a folder, and print their paths.

    Raises:
        ValueError: some of them are there; nothing was written.
        OSError: one could not be written; those that were are removed.
    """
    if taken := [name for name in texts if (folder / name).exists()]:
        rule = "fieldtrial new overwrites nothing, and has written nothing"
        raise ValueError(f"{folder}: has {', '.join(taken)}; {rule}")
    with _removed_on_error() as written:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x") as file:
                written.append(path)
                file.write(text)
            say(str(path))


@contextlib.contextmanager
def _removed_on_error() -> Iterator[list[Path]]:
    """Remove the files that are put into the list if what is done here fails."""
    written = list[Path]()
    try:
        yield written
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _read(name: str) -> str:
    return (TEMPLATE / f"{name}.in").read_text()
