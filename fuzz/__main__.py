"""``python -m fuzz --inputs 100000``: reads broken files of every kind in a process of its own.

Whatever ends neither in a result nor in a `UserError` is a failure: another exception, more than 10 s of processor
time, more than 2 GiB, the death of the process, or its silence where it is not other work that leaves it no processor.
Failing inputs are kept in ``fuzz-failures/``; the last line is one JSON object.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.targets import TARGETS
from fuzz.worker import SECONDS

#: A library that hangs in C does not see the worker's own alarm, and one that waits takes no processor time.
PATIENCE_S = 300


@dataclass
class Tally:
    """What came of the inputs."""

    folder: Path
    keep: Path
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def add(self, kind: str, number: int, outcome: str, seconds: float = 0.0) -> None:
        """Count one outcome, and keep the input of a failure."""
        self.slowest = max(self.slowest, seconds)
        failed = outcome not in ("read", "refused")
        self.counts[kind]["failed" if failed else outcome] += 1
        if not failed:
            return
        self.failures[f"{kind}: {outcome}"] += 1
        print(f"{kind} {number}: {outcome}", file=sys.stderr, flush=True)
        if self.failures[f"{kind}: {outcome}"] <= 3:
            kept = self.keep / f"{kind}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            found = self.folder / "failed" / f"{kind}-{number}"
            shutil.copytree(found if found.exists() else self.folder / "input", kept)

    def report(self, seed: int) -> dict[str, object]:
        """Return the figures."""
        total = sum((Counter(count) for count in self.counts.values()), Counter())
        return {
            "inputs": sum(total.values()),
            "seed": seed,
            "failed": total["failed"],
            "slowest_s": round(self.slowest, 3),
            "kinds": {kind: dict(sorted(count.items())) for kind, count in sorted(self.counts.items())},
            "failures": dict(self.failures),
        }


def fuzz(kinds: list[str], inputs: int, seed: int, keep: Path) -> Tally:
    """Read `inputs` broken files, starting the worker again where it died."""
    with tempfile.TemporaryDirectory() as name:
        tally = Tally(Path(name), keep)
        done = 0
        while done < inputs:
            done = _one_worker(kinds, done, inputs, seed, tally)
        return tally


def _one_worker(kinds: list[str], first: int, last: int, seed: int, tally: Tally) -> int:
    """Run one worker until it ends, and return the number of the next input."""
    command = _command(kinds, first, last, seed, tally.folder)
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_pass_on, args=(worker.stdout, lines))
    reader.start()
    hung, spent = False, 0.0
    open_input: tuple[int, str] | None = None
    next_input = first
    try:
        while True:
            try:
                line = lines.get(timeout=PATIENCE_S + (600 if next_input == first else 0))
            except queue.Empty:
                ready, now = _turn(worker.pid)
                if ready and now - spent < 2 * SECONDS:
                    continue  # Other work leaves it no processor.
                hung = True
                break
            if not line:
                break
            what, number, *rest = line.split(" ", 3)
            if what == "start":
                spent = _turn(worker.pid)[1]
                open_input = (int(number), rest[0].strip())
            elif what == "end" and open_input is not None:
                tally.add(open_input[1], open_input[0], rest[1].strip(), float(rest[0]))
                next_input, open_input = open_input[0] + 1, None
    finally:
        if worker.poll() is None and (hung or open_input is not None):
            worker.kill()
        code = worker.wait()
        reader.join()
    if open_input is not None:
        tally.add(open_input[1], open_input[0], "failed: hung in C" if hung else f"failed: process died ({code})")
        return open_input[0] + 1
    if next_input == first:
        raise SystemExit("the worker could not begin; run python -m fuzz.worker by hand")
    return next_input


def _command(kinds: list[str], first: int, last: int, seed: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "fuzz.worker", ",".join(kinds), str(first), str(last), str(seed), str(folder)]


def _turn(pid: int) -> tuple[bool, float]:
    """Tell whether a process or a child of it waits for a processor, and how many seconds of one they have had."""
    ready, seconds = False, 0.0
    with suppress(OSError, ValueError):  # A child may end meanwhile; not every system tells.
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (str(pid), *children):
            state, *numbers = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ready = ready or state == "R"
            seconds += (int(numbers[10]) + int(numbers[11])) / os.sysconf("SC_CLK_TCK")
    return ready, seconds


def _pass_on(stream: Iterable[str] | None, lines: "queue.SimpleQueue[str]") -> None:
    """Queue the lines of a stream, and an empty one at its end."""
    for line in stream or ():
        lines.put(line)
    lines.put("")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(TARGETS))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    arguments = parser.parse_args()
    tally = fuzz(arguments.kinds.split(","), arguments.inputs, arguments.seed, arguments.keep)
    report = tally.report(arguments.seed)
    print(json.dumps(report))
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
