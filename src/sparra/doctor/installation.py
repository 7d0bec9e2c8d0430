"""Python, the packages and the compiled kernels."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

import numpy as np
from numpy.typing import NDArray

from sparra import __version__
from sparra.compiled import compiled
from sparra.doctor.finding import Finding, tried

AREA = "installation"
# What each extra is for, told where it is not installed.
EXTRAS = {
    "cluster": "Slurm, encrypted schedulers, the dashboard",
    "hub": "fetching weights from the Hugging Face Hub",
    "segment": "training and predicting masks",
    "pyradiomics": "the encoder pyradiomics",
    "lazyslide": "bags of LazySlide",
}


def look_at_installation() -> Iterator[Finding]:
    """Look at Python, the required and optional packages, and whether kernels compile."""
    yield _python()
    yield _required()
    for extra, purpose in EXTRAS.items():
        wrong = list(_unmet(extra))
        if wrong:
            found = f"not installed: {', '.join(wrong)}"
            yield Finding(AREA, f"extra {extra}", "warning", found, f"For {purpose}: pip install 'sparra[{extra}]'")
        else:
            yield Finding(AREA, f"extra {extra}", "ok", purpose)
    yield tried(AREA, "compiled kernels", _compile, "Install numba's version of requirements.lock anew")
    yield tried(AREA, "torch", _torch, "Install torch's version of requirements.lock anew")


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    allowed, own = metadata("sparra")["Requires-Python"] or "", platform.python_version()
    if own in SpecifierSet(allowed):
        return Finding(
            AREA, "sparra, Python", "ok", f"{__version__}, {own} on {platform.system()} {platform.machine()}"
        )
    return Finding(AREA, "sparra, Python", "problem", f"Python {own}", f"Install it in a Python {allowed}")


def _required() -> Finding:
    wrong = list(_unmet(None))
    if wrong:
        mend = f"{sys.executable} -m pip install --requirement requirements.lock"
        return Finding(AREA, "packages", "problem", "; ".join(wrong), mend)
    return Finding(AREA, "packages", "ok", "every required one, in the versions asked for")


def _unmet(extra: str | None) -> Iterator[str]:
    """Yield what is absent or of a wrong version among the requirements, or among those of an extra alone."""
    from packaging.requirements import Requirement

    for line in requires("sparra") or []:
        needed = Requirement(line)
        always = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if always is not (extra is None):
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": extra or ""}):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            yield f"{needed.name} (absent)"
            continue
        if not needed.specifier.contains(found, prereleases=True):
            yield f"{needed.name} {found} (needs {needed.specifier})"


def _sum_of(values: NDArray[np.float64]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def _compile() -> str:
    total = compiled(_sum_of)(np.arange(5.0))
    if total != 10:
        raise ValueError(f"0 + 1 + 2 + 3 + 4 is {total}")
    return "they compile and count right"


def _torch() -> str:
    import torch

    product = torch.ones(8, 8) @ torch.ones(8, 8)
    if not bool((product == 8).all()):
        raise ValueError("a product of matrices is wrong")
    return f"{torch.__version__}, {torch.get_num_threads()} threads"
