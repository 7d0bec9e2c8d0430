"""What this machine has: processors, memory, GPUs."""

import os
from pathlib import Path

import psutil

GIB = 2**30
MEMORY_PER_WORKER = 2 * GIB
WORKERS_PER_GPU = 4
# Memory limits of control groups, version 2 and version 1; a container's lies below the machine's.
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Return the memory that processes here may take together: the machine's, or the container's if less."""
    limit = int(psutil.virtual_memory().total)
    for name in CGROUP_LIMITS:
        try:
            limit = min(limit, int(Path(name).read_text()))
        except (OSError, ValueError):  # Absent, or "max".
            continue
    return limit


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return what names each visible GPU in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name != "-1"]
    # Counted without torch, whose import takes seconds.
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def default_workers() -> int:
    """Return how many items fit here at a time: one a processor, 2 GiB each, 4 to a GPU where there is one."""
    number = min(processors(), memory_bytes() // MEMORY_PER_WORKER)
    devices = len(gpus())
    return max(1, min(number, devices * WORKERS_PER_GPU) if devices else number)
