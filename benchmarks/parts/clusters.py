"""Schedulers to run a study by: Dask on loopback, and a Slurm of one node."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

LOOPBACK = "127.0.0.1"
SECONDS_TO_START = 180
SLURM_SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "loopback.sh"
SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "sbatch", "runuser")


@contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Iterator[tuple[str, "list[subprocess.Popen[bytes]]"]]:
    """Start a Dask scheduler and workers of one thread each, as a site would, on loopback.

    Yields
    ------
    address : str
    processes : list of subprocess.Popen
        The workers' own processes, which nothing starts again.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    address = f"tcp://{LOOPBACK}:{port}"
    dask, quiet = [sys.executable, "-m", "dask"], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begin = [*dask, "scheduler", "--host", LOOPBACK, "--port", str(port), "--no-dashboard"]
    join = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory"]
    started = [subprocess.Popen(begin, **quiet)]  # type: ignore[call-overload]
    try:
        started += [subprocess.Popen([*join, str(folder / f"dask-{n}")], **quiet) for n in range(workers)]  # type: ignore[call-overload]
        with Client(address, timeout=SECONDS_TO_START) as client:
            client.wait_for_workers(workers, timeout=SECONDS_TO_START)
        yield address, started[1:]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def why_no_slurm() -> str | None:
    """Return why no Slurm can be started here, or None."""
    absent = [name for name in SLURM_PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "Slurm's and munge's processes are started as root"


def by_slurm(command: list[str], log: Path) -> int:
    """Run a command within a Slurm of one node on loopback; return its exit code."""
    with log.open("wb") as file:
        return subprocess.run([str(SLURM_SCRIPT), *command], stdout=file, stderr=subprocess.STDOUT).returncode
