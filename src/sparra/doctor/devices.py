"""Processors and graphics cards."""

from collections.abc import Iterator

from sparra.doctor.finding import Finding
from sparra.engine.machine import GIB, gpus, memory_bytes, processors

AREA = "devices"
LEAST_MEMORY_GIB = 4


def look_at_devices() -> Iterator[Finding]:
    """Look at processors, memory, CUDA and MPS."""
    import torch

    cores = processors()
    fast = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    bf16 = "bf16 in hardware" if fast else "bf16 is emulated, leave 'precision: auto'"
    yield Finding(AREA, "processors", "ok", f"{cores}, {torch.backends.cpu.get_cpu_capability()}, {bf16}")
    memory = memory_bytes() / GIB
    if memory < LEAST_MEMORY_GIB:
        mend = "Set 'workers: 1', and give large slides a larger machine"
        yield Finding(AREA, "memory", "warning", f"{memory:.1f} GiB", mend)
    else:
        yield Finding(AREA, "memory", "ok", f"{memory:.1f} GiB")
    yield _cuda(torch.cuda.is_available(), len(gpus()))
    if torch.backends.mps.is_available():
        yield Finding(AREA, "MPS", "ok", "there")


def _cuda(works: bool, there: int) -> Finding:
    if works:
        import torch

        cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Finding(AREA, "CUDA", "ok", ", ".join(f"{c.name} ({c.total_memory / GIB:.0f} GiB)" for c in cards))
    if there:
        mend = "Install the torch that is built for this driver's CUDA"
        return Finding(AREA, "CUDA", "problem", f"{there} cards that torch cannot use", mend)
    return Finding(AREA, "CUDA", "ok", "no card; networks run on the processors")
