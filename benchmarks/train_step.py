"""One training step of the joint model: ours against the plain yardstick; time, memory, results, floor.

``python -m benchmarks.train_step`` measures each model in processes of its own, in turns, on two threads, and prints
one JSON line:

- ``ratio_fp32``, ``ratio_bf16``: plain seconds / ours, each the fastest step of all rounds; ``cpu_ratio_*`` the same of
  processor seconds.
- ``memory_ratio``: ours / plain, the highest resident memory of float32 training above what the process held with
  its inputs loaded; ``memory_ratio_total``: with inputs and libraries.
- ``loss_error_*``, ``gradient_error_*``: relative errors of the results with dropout and sampling off.
- ``floor_fp32``, ``floor_bf16``: seconds that the matrix products of the plain step take by themselves, all of them
  and nothing else, over the plain step; ``ours_over_floor_*``: our step over these seconds. Below 1, products were
  left out.
- ``ms_*_nodes``: a step for slides of so many nodes; ``cost_exponent``: the slope of log milliseconds over log nodes.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.parts.joint_batch import FEATURES, JointBatch, build_ours, make_batch, our_step
from benchmarks.parts.plain_sparra import ENCODER, HIDDEN, POOLED, RATIOS, PlainSparra, plain_cox
from sparra.models.threads import small_work_alone
from sparra.training.allocator import freed_memory_kept

GRIDS = {"ct": (40, 50), "slide": (100, 100)}
SMALL_GRIDS = {"ct": (15, 20), "slide": (30, 40)}
N_SUBJECTS = 32
ROUNDS = 3
STEPS = 2
REPEATS = 5


def resident(field: str) -> float:
    """Return VmRSS or VmHWM of this process in GB."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(line.split()[1]) / 1e6


def joined(batch: JointBatch, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.cat(parts).to(dtype) for name, parts in batch.features.items()}


def plain_step(model: PlainSparra, batch: JointBatch, features: dict[str, torch.Tensor]) -> float:
    model.zero_grad(set_to_none=True)
    risk, penalties = model(features, batch.edges, batch.subject, batch.n_subjects)
    cox = plain_cox(risk, batch.time, batch.event)
    torch.autograd.backward(cox + penalties)
    return float(cox.detach())


@contextmanager
def as_our_fits() -> Iterator[None]:
    with freed_memory_kept(), small_work_alone():
        yield


def measure(role: str, steps: int) -> dict[str, float]:
    """Time steps of one model in this process."""
    dtype = torch.bfloat16 if role == "bf16" else torch.float32
    batch = make_batch(GRIDS, N_SUBJECTS, dtype)
    torch.manual_seed(0)
    if role == "plain":
        model = PlainSparra(FEATURES)
        features = joined(batch)
        for parts in batch.features.values():
            parts.clear()
    else:
        ours = build_ours()
    inputs = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    seconds, cpu = [], []
    # Our fits run under these contexts; the plain version is left as torch runs it.
    with as_our_fits() if role != "plain" else nullcontext():
        for _ in range(steps + 1):
            start, start_cpu = time.perf_counter(), time.process_time()
            if role == "plain":
                plain_step(model, batch, features)
            else:
                our_step(ours, batch, role == "bf16")
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
    return {"seconds": min(seconds[1:]), "cpu": min(cpu[1:]), "inputs": inputs, "peak": resident("VmHWM")}


def in_process(role: str, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.train_step", "--role", role, "--threads", str(threads)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    print(role, result.stdout.strip(), file=sys.stderr, flush=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def counterpart(name: str) -> tuple[str, bool]:
    """Return our name of a parameter of the plain model, and whether ours is transposed."""
    table = {
        "pools.": "poolings.",
        "tanh_arm.0": "encoders.shared.tanh_arm",
        "sigmoid_arm.0": "encoders.shared.sigmoid_arm",
        "posterior.": "encoders.shared.output.",
        "expand.": "decoder_trunks.shared.expand.",
        "mix.": "decoder_trunks.shared.mix.",
        "decoder_convolution.": "decoder_trunks.shared.convolution.",
        "outputs.": "decoder_outputs.",
        ".select.weight": ".projection",
    }
    transposed = ".lin.weight" in name or name == "decoder_convolution.lin.weight"
    for plain, ours in table.items():
        name = name.replace(plain, ours)
    return name.replace(".lin.weight", ".weight"), transposed


def compare(low_precision: bool) -> dict[str, float]:
    """Return relative errors of our Cox loss and gradients to the plain model's, dropout and sampling off."""
    batch = make_batch(SMALL_GRIDS, 8, torch.float32)
    plain = PlainSparra(FEATURES, dropout=0.0, encoder_dropout=0.0, sample=False)
    ours = build_ours(dropout=0.0, encoder_dropout=0.0)
    state = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            key, transposed = counterpart(name)
            parameter.copy_(state[key].t() if transposed else state[key].view_as(parameter))
    expected = plain_step(plain, batch, joined(batch))
    low = make_batch(SMALL_GRIDS, 8, torch.bfloat16) if low_precision else batch
    with mock.patch("sparra.models.sparra.sample_importance", lambda mu, log_variance: mu):
        loss = our_step(ours, low, low_precision)["cox"]
    squared_error = squared_size = 0.0
    for name, parameter in plain.named_parameters():
        key, transposed = counterpart(name)
        gradient = state[key].grad.t() if transposed else state[key].grad.view_as(parameter)
        squared_error += float(((gradient - parameter.grad).double() ** 2).sum())
        squared_size += float((parameter.grad.double() ** 2).sum())
    return {"loss": abs(loss - expected) / abs(expected), "gradient": (squared_error / squared_size) ** 0.5}


def linear_cost() -> dict[str, float]:
    """Return milliseconds a step of two subjects' slides by number of nodes of each, and the exponent of growth."""
    sizes, fastest = [], []
    with as_our_fits():
        for height, width in ((25, 40), (50, 60), (100, 100), (150, 200), (250, 400)):
            batch = make_batch({"ct": (10, 10), "slide": (height, width)}, 2, torch.float32)
            model = build_ours()
            sizes.append(height * width)
            fastest.append(1e3 * best_seconds(lambda model=model, batch=batch: our_step(model, batch, False)))
    exponent = np.polyfit(np.log(sizes), np.log(fastest), 1)[0]
    rows = {f"ms_{size}_nodes": milliseconds for size, milliseconds in zip(sizes, fastest, strict=True)}
    return {**rows, "cost_exponent": float(exponent)}


def best_seconds(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def products(name: str, n_nodes: int) -> Iterator[tuple[int, int, int]]:
    """Yield the matrix products of one subject in the plain step: rows, inner size, columns.

    Every layer has three, its output and the gradients of weight and input; the first needs no gradient of its input.
    """
    first = math.ceil(RATIOS[name] * n_nodes)
    kept = math.ceil(RATIOS[name] * first)
    features = FEATURES[name]
    yield from ((n_nodes, features, HIDDEN), (HIDDEN, n_nodes, features))
    layers = [(n_nodes, HIDDEN, POOLED), (first, POOLED, POOLED), *[(kept, POOLED, ENCODER)] * 2]
    layers += [(kept, POOLED, HIDDEN), *[(kept, HIDDEN, HIDDEN)] * 2, (kept, HIDDEN, features)]
    for rows, inner, columns in layers:
        yield from ((rows, inner, columns), (inner, rows, columns), (rows, columns, inner))


def floor_seconds(dtype: torch.dtype) -> float:
    """Time the matrix products of the plain step, and nothing else, subject by subject."""
    total = 0.0
    for name, (height, width) in GRIDS.items():
        for rows, inner, columns in products(name, height * width):
            one, other = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
            out = torch.empty((rows, columns), dtype=dtype)
            total += best_seconds(lambda one=one, other=other, out=out: torch.mm(one, other, out=out))
    return total * N_SUBJECTS


def compare_all(threads: int) -> dict[str, float]:
    """Run everything."""
    runs: dict[str, list[dict[str, float]]] = {"plain": [], "fp32": [], "bf16": []}
    for _ in range(ROUNDS):
        for role, results in runs.items():
            results.append(in_process(role, threads))
    best = {role: min(run["seconds"] for run in results) for role, results in runs.items()}
    cpu = {role: min(run["cpu"] for run in results) for role, results in runs.items()}
    peak = {role: max(run["peak"] for run in results) for role, results in runs.items()}
    above = {role: peak[role] - runs[role][0]["inputs"] for role in runs}
    single, low = compare(low_precision=False), compare(low_precision=True)
    floor = {"fp32": floor_seconds(torch.float32), "bf16": floor_seconds(torch.bfloat16)}
    return {
        "ratio_fp32": best["plain"] / best["fp32"],
        "ratio_bf16": best["plain"] / best["bf16"],
        "memory_ratio": above["fp32"] / above["plain"],
        "memory_ratio_total": peak["fp32"] / peak["plain"],
        "memory_ratio_bf16": above["bf16"] / above["plain"],
        "cpu_ratio_fp32": cpu["plain"] / cpu["fp32"],
        "cpu_ratio_bf16": cpu["plain"] / cpu["bf16"],
        **{f"seconds_{role}": value for role, value in best.items()},
        **{f"floor_{role}": seconds / best["plain"] for role, seconds in floor.items()},
        **{f"ours_over_floor_{role}": best[role] / seconds for role, seconds in floor.items()},
        "loss_error_fp32": single["loss"],
        "gradient_error_fp32": single["gradient"],
        "loss_error_bf16": low["loss"],
        "gradient_error_bf16": low["gradient"],
        **linear_cost(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["plain", "fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.role is not None:
        print(json.dumps(measure(arguments.role, STEPS)))
        return
    figures = compare_all(arguments.threads)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
