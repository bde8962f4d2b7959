"""What this project does with a GPU, beside plain loops in the same run, in at most eight minutes.

python benchmarks/gpu.py [--quick] [--only resnet50,eight] [--device cpu] [--cifar FOLDER]
                         [--seconds 460] [--repeats 3] [--output FILE]

Each section runs in a process of its own for a share of --seconds: one that fails, or takes too
long, is a line of the table, and the next one goes on. --quick trains few and small images, to see
that all of it runs; so does --device cpu. Without --cifar (CIFAR-10's binary files, or a folder of
its classes as JPEG files), images of that shape are made, which say how long epochs take and
nothing of 94 %. Writes benchmarks/results/gpu.json, or FILE, after each section.

It needs torch 2.11 or later, torchvision, numpy, safetensors, pillow, filelock, rich, timm and
tensorboard, and msgspec, google-re2 and google-crc32c; nvidia-ml-py for energy. Neither Ray nor
Submitit is imported, and nothing is downloaded or installed. For a machine without a network, fetch
the missing packages as wheels on a machine with one, for the Python and system of the first:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \\
        --platform manylinux_2_28_x86_64 --dest wheels msgspec google-re2 google-crc32c

and there, in the repository:

    pip install --no-index --no-deps --target packages wheels/*.whl
    PYTHONPATH=src:packages python benchmarks/gpu.py
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from machine import RESULTS, describe_machine
from on_gpu import cifar, faults, networks, trials
from on_gpu.lines import Line, Say, Settings, table

Section = Callable[[Settings, Say], None]
SECTIONS: dict[str, tuple[Section, int]] = {  # each with its share of the time
    "card": (networks.card, 2),
    "store": (networks.store, 3),
    "resnet50": (networks.resnet50, 10),
    "vit": (networks.vit, 7),
    "launches": (networks.launches, 8),
    "cifar": (cifar.cifar, 8),
    "probe": (trials.probe, 4),
    "heads": (trials.heads, 4),
    "eight": (trials.eight, 10),
    "memory": (faults.memory, 4),
    "resume": (faults.resume, 2),
    "processes": (faults.processes, 2),
}


def main() -> None:
    """Run the sections, print their table and write their figures."""
    options = _parser().parse_args()
    chosen = options.only or list(SECTIONS)
    share = options.seconds / sum(SECTIONS[name][1] for name in chosen)
    found: list[tuple[str, Line]] = []
    with tempfile.TemporaryDirectory(prefix="fieldtrial-gpu-") as name:
        folder = Path(name)
        os.environ["FIELDTRIAL_DATA"] = str(options.cifar or folder / "data")
        os.environ["FIELDTRIAL_CACHE"] = str(folder / "stores")
        if options.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        small = options.quick or options.device == "cpu"
        repeats = 1 if small else options.repeats
        settings = Settings(options.device, small, repeats, folder, options.cifar)
        for section in chosen:
            run, part = SECTIONS[section]
            for line in isolated(run, settings, share * part):
                found.append((section, line))
                print(" | ".join(filter(None, line.cells(section))), flush=True)
            write(options.output, found)
    print(f"\n{table([line.cells(section) for section, line in found])}")


def isolated(run: Section, settings: Settings, seconds: float) -> list[Line]:
    """Return what a section says in a process of its own, and how that ended if not well.

    The process has this one's modules, and the device is used in it first. After `seconds` it is
    killed, with the processes that it has started.
    """
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_say_all, args=(run, settings, send))
    began = time.monotonic()
    process.start()
    send.close()
    lines = []
    with contextlib.suppress(EOFError):
        while receive.poll(max(0.0, began + seconds - time.monotonic())):
            lines.append(receive.recv())
        lines.append(Line("not to its end", remark=f"took more than {seconds:.3g} s"))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    took = f"{time.monotonic() - began:.0f} s"
    if process.exitcode and process.exitcode != -signal.SIGKILL:
        lines.append(Line("not to its end", remark=f"ended with status {process.exitcode}"))
    print(f"{run.__name__}: {took}", file=sys.stderr, flush=True)
    return lines


def _say_all(run: Section, settings: Settings, send: Connection) -> None:
    """Run a section, and send its lines; an error is one, too."""
    os.setsid()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what a trial says of its data
            run(settings, send.send)
    except Exception as error:  # whatever it is, the other sections go on
        text = " ".join(f"{type(error).__name__}: {error}".split())
        send.send(Line("not to its end", remark=text[:200]))
    send.close()


def write(path: Path, found: list[tuple[str, Line]]) -> None:
    """Write the figures of the sections that have ended, and a description of the machine."""
    lines = [line.to_json(section) for section, line in found]
    text = json.dumps({"lines": lines, "machine": describe_machine()}, indent=1, default=str)
    path.write_text(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    def sections(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in SECTIONS]:
            choices = ", ".join(SECTIONS)
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {choices}")
        return names

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", type=sections, metavar="SECTION,...")
    parser.add_argument("--cifar", type=Path, metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=460)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    return parser


if __name__ == "__main__":
    main()
