"""Starts the processes that train one trial together, on one machine or on one node of a job.

python -m fieldtrial.training.distributed.launcher --processes N [--restarts N] [--nodes A,B,...]
    -m MODULE | SCRIPT [ARGUMENT ...]

Each process finds its place in RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE. Rank 0 has the
launcher's standard input, the others none. SIGINT, SIGTERM and SIGHUP are passed on. When a process
dies, the others are ended. The launcher then ends as that process did, by the same signal or with
the same status, or starts all of them again. If the launcher itself is killed, so are they.

On one machine the processes meet through a file in memory that they inherit: it has no name, and no
port leads to it. With --nodes, the names of all nodes of a job, srun starts a launcher on each, and
they meet by FIELDTRIAL_RENDEZVOUS. This module imports no torch: it starts at once.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from fieldtrial.command_line import BAD_INPUT
from fieldtrial.processes import die_with_parent, python

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESTART_COUNT = "TORCHELASTIC_RESTART_COUNT"  # torchrun's word for it
MEETING = "FIELDTRIAL_MEETING"
GRACE_SECONDS = 10  # between SIGTERM and SIGKILL
POLL_SECONDS = 0.05


class Launcher:
    """The processes of one trial, which are started and ended together.

    command: what each process runs; environments: of each process, by its number on this machine.
    """

    def __init__(self, command: Sequence[str], environments: Sequence[dict[str, str]]) -> None:
        self._command, self._environments = command, environments
        self._processes: list[subprocess.Popen[bytes]] = []
        self._signal: int | None = None  # the last one that was passed on
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)

    def run(self, restarts: int, count: int) -> int:
        """Run the processes, again up to `restarts` times if one dies; return how they ended.

        That is 0, or the first dead process's status; it is negative for a signal's number.
        Processes that report bad input are not started again, nor any after a signal to end.

        count: how often they have been started before.
        """
        for left in range(restarts, -1, -1):
            status = self._run_once({RESTART_COUNT: str(count)})
            if status in (0, BAD_INPUT) or self._signal is not None or not left:
                break
            count += 1
            print(f"a process {_ending(status)}: all are started again", file=sys.stderr)
        return status

    def _run_once(self, more: dict[str, str]) -> int:
        meeting = os.memfd_create("fieldtrial-meeting")  # new: the old has the dead's addresses
        more |= {} if "FIELDTRIAL_RENDEZVOUS" in self._environments[0] else {MEETING: str(meeting)}
        self._processes = []
        try:
            for rank, environment in enumerate(self._environments):
                self._processes.append(
                    subprocess.Popen(
                        self._command,
                        stdin=subprocess.DEVNULL if rank else None,
                        env=environment | more,
                        pass_fds=[meeting],
                        preexec_fn=_tie(os.getpid()),
                        process_group=0,  # a terminal's Ctrl-C comes by way of this process alone
                    )
                )
            if self._signal is not None:  # one came before all of them were there
                self._send(self._signal)
            return self._wait()
        finally:
            os.close(meeting)
            self._end()

    def _wait(self) -> int:
        """Return 0 when all processes have ended well, or the status of the first that has not."""
        while True:
            statuses = [process.poll() for process in self._processes]
            if failed := [status for status in statuses if status]:
                return failed[0]
            if None not in statuses:
                return 0
            time.sleep(POLL_SECONDS)

    def _end(self) -> None:
        """End what still runs: other processes may wait for the dead one in vain."""
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _pass_on(self, number: int, _: object) -> None:
        self._signal = number
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)  # nothing happens to one that has been waited for


def _tie(parent: int) -> Callable[[], None]:
    """Return what a new process does first: it will die with its parent, however that ends."""

    def tie() -> None:
        die_with_parent()
        if os.getppid() != parent:  # it has died already
            os._exit(1)

    return tie


def rank_environments(processes: int, nodes: Sequence[str]) -> list[dict[str, str]]:
    """Return the environment of each process on this machine.

    nodes: the job's nodes, of which SLURM_NODEID says which this is; none for one machine.
    """
    node = int(os.environ["SLURM_NODEID"]) if nodes else 0
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    common = {
        "OMP_NUM_THREADS": str(threads),
        "FIELDTRIAL_LAUNCHED": str(time.time()),
        **os.environ,
        "WORLD_SIZE": str(processes * max(1, len(nodes))),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    if len(nodes) > 1:
        common["FIELDTRIAL_PEER"] = nodes[0 if node else 1]
    else:
        common.pop("FIELDTRIAL_RENDEZVOUS", None)
    common.pop(MEETING, None)
    return [
        common | {"RANK": str(node * processes + number), "LOCAL_RANK": str(number)}
        for number in range(processes)
    ]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Start the processes, wait for them, and end as the first dead one did."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--processes", type=int, required=True, metavar="N")
    parser.add_argument("--restarts", type=int, default=0, metavar="N")
    parser.add_argument("--nodes", default="", metavar="A,B,...")
    parser.add_argument("-m", dest="module", action="store_true", help="COMMAND is a module")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    given = parser.parse_args(arguments)
    if given.processes < 1:
        parser.error(f"--processes {given.processes}: must be at least 1")
    if given.restarts < 0:
        parser.error(f"--restarts {given.restarts}: must be at least 0")
    if not given.command:
        parser.error("COMMAND ... is missing: a script or, after -m, a module")
    nodes = [name for name in given.nodes.split(",") if name]
    if len(nodes) > 1 and "FIELDTRIAL_RENDEZVOUS" not in os.environ:
        parser.error("--nodes: FIELDTRIAL_RENDEZVOUS must name a file that all of them see")
    if nodes and not os.environ.get("SLURM_NODEID", "").isdecimal():
        parser.error("--nodes: SLURM_NODEID must say which of them this is, as it does under srun")
    command = python(*(["-m"] if given.module else []), *given.command)
    launcher = Launcher(command, rank_environments(given.processes, nodes))
    end_as(launcher.run(given.restarts, int(os.environ.get(RESTART_COUNT, "0"))))


def end_as(status: int) -> NoReturn:
    """End this process with `status` or, if it is negative, by that signal."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the dead process has left its own
        if -status != signal.SIGKILL:  # it has no handler to take away
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _ending(status: int) -> str:
    return (
        f"was killed by {signal.Signals(-status).name}"
        if status < 0
        else f"exited with status {status}"
    )


if __name__ == "__main__":
    main()
