"""What one study needs of this machine: weights, a token, a scheduler, room, memory."""

import os
import shutil
import socket
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from safetensors import safe_open

from sparra.bags.readers import is_bag_file
from sparra.cohort.tables import ImageRecord, read_images
from sparra.doctor.finding import Finding, tried
from sparra.doctor.storage import look_at_disk
from sparra.engine.machine import GIB, memory_bytes
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.pathology.encoders import slide_encoders
from sparra.radiology.encoders import ct_encoders
from sparra.study.encoders import comes_from_hub, encoders_needed, weights_given
from sparra.study.settings import StudySettings
from sparra.weights.source import FoundWeights, WeightsSource, find_weights, how_to_get

SECONDS_TO_ANSWER = 5.0
#: Patches of a large image, and files beside the features, as a share of these: graphs, pictures, models.
PATCHES: dict[Modality, int] = {"ct": 2000, "slide": 20_000}
WITH_THE_REST = 2.0
TOKEN_PLACES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def look_at_study(settings: StudySettings) -> Iterator[Finding]:
    """Look at what a study needs."""
    try:
        images, problems = read_images(settings.cohort.images)
        mend = "See them with 'sparra check'" if problems else ""
        found = f"{len(images)} in {settings.cohort.images}" + (f", {len(problems)} problems" if problems else "")
        yield Finding("study", "images", "warning" if problems else "ok", found, mend)
    except UserError as error:
        images = []
        yield Finding("study", "images", "problem", error.what, error.mend or "See 'sparra check'")
    yield from _weights(settings, images)
    yield from _scheduler(settings)
    yield from look_at_disk(settings.output, _needed_bytes(settings, images))
    yield _memory(settings)


def look_at_token(needed: bool = False) -> Finding:
    """Tell whether there is a token of the Hugging Face Hub; it is neither shown nor read."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    place = Path(os.environ.get("HF_TOKEN_PATH", home / "token"))
    if any(os.environ.get(name) for name in TOKEN_PLACES) or place.is_file():
        return Finding("weights", "Hub token", "ok", "there is one")
    if needed:
        mend = "Accept the terms on the weights' page, then run 'hf auth login' or set HF_TOKEN"
        return Finding("weights", "Hub token", "problem", "none, and the study fetches gated weights", mend)
    return Finding("weights", "Hub token", "ok", "none; only gated weights of the Hub need one")


def _weights(settings: StudySettings, images: list[ImageRecord]) -> Iterator[Finding]:
    """Look at the weights of the encoders that the study's images need: of neither where all are ready bags."""
    gated = False
    for modality in encoders_needed(images):
        try:
            files = weights_given(settings, modality)
        except UserError as error:
            yield Finding("weights", f"{modality} encoder", "problem", error.what, error.mend or "")
            continue
        for source, given in files:
            gated = gated or (source.gated and comes_from_hub(given))
            yield _file_of_weights(f"{modality} {source.key}", source, given)
    yield look_at_token(gated)


def _file_of_weights(name: str, source: WeightsSource, given: str | None) -> Finding:
    if source.hub is not None and comes_from_hub(given):
        if find_spec("huggingface_hub") is not None:
            return Finding("weights", name, "ok", f"from the Hub: {source.hub}")
        found = "from the Hub, but huggingface_hub is not installed"
        return Finding("weights", name, "problem", found, "Run: pip install 'sparra[hub]'")
    try:
        weights = find_weights(source, given)
    except UserError as error:
        found = f"{error.where}: {error.what}" if error.where else error.what
        return Finding("weights", name, "problem", found, error.mend or how_to_get(source))
    return tried("weights", name, lambda: _opened(weights), how_to_get(source))


def _opened(found: FoundWeights) -> str:
    """Read the directory of a file of weights, which a download that was cut short lacks or does not fit."""
    size = found.path.stat().st_size
    if found.path.suffix == ".safetensors":
        with safe_open(found.path, "np") as file:
            inside = f"{len(file.keys())} tensors"
    elif zipfile.is_zipfile(found.path):
        with zipfile.ZipFile(found.path) as archive:
            inside = f"{len(archive.namelist())} parts"
    elif size == 0:
        raise ValueError("the file is empty")
    else:
        inside = "of PyTorch's older format, checked when it is loaded"
    return f"{found.path}: {size / 1e6:.0f} MB, {inside}"


def _scheduler(settings: StudySettings) -> Iterator[Finding]:
    if settings.kind == "slurm":
        yield from _slurm(settings)
    elif settings.kind == "scheduler":
        mend = "Start one with 'dask scheduler', and workers with 'dask worker ADDRESS', or correct 'engine'"
        yield tried("scheduler", settings.engine, lambda: _answers(settings.engine), mend)
    else:
        yield Finding("scheduler", settings.engine, "ok", f"{settings.n_workers} workers on this machine")


def _slurm(settings: StudySettings) -> Iterator[Finding]:
    for program in ("sbatch", "squeue", "scancel"):
        place = shutil.which(program)
        if place is None:
            yield Finding("scheduler", program, "problem", "not found", "Run on a node that submits jobs to Slurm")
        else:
            yield Finding("scheduler", program, "ok", place)
    packages = ["dask_jobqueue", *(["cryptography"] if settings.slurm.tls else [])]
    absent = [name for name in packages if find_spec(name) is None]
    if absent:
        mend = "Run: pip install 'sparra[cluster]'"
        yield Finding("scheduler", "packages", "problem", f"not installed: {', '.join(absent)}", mend)
    interface = settings.slurm.interface
    if interface is not None and interface not in (name for _, name in socket.if_nameindex()):
        yield Finding("scheduler", "interface", "problem", f"there is none called '{interface}'", "See 'ip link'")


def _answers(address: str) -> str:
    """Connect to a scheduler, and count its workers where that takes no keys."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_TO_ANSWER):
        pass
    if parts.scheme == "tls":
        return "it answers"
    from distributed import Client

    with Client(address, timeout=SECONDS_TO_ANSWER) as client:
        workers = len(client.nthreads())
    if not workers:
        raise ValueError("it answers, but has no workers")
    return f"it answers, with {workers} workers"


def _needed_bytes(settings: StudySettings, images: list[ImageRecord]) -> int:
    """Estimate from above what is still to be written: features of large images twice over, less what is there."""
    dims = {"ct": ct_encoders[settings.ct.encoder].card.dimension,
            "slide": slide_encoders[settings.slide.encoder].card.dimension}  # fmt: skip
    number = {"float32": 4, "float16": 2}
    large = [image for image in images if not is_bag_file(image.path)]
    bags = sum(PATCHES[i.modality] * dims[i.modality] * number[settings.bags.dtype.of(i.modality)] for i in large)
    folder = settings.output / "features"
    written = sum(file.stat().st_size for file in folder.rglob("*.h5")) if folder.is_dir() else 0
    return max(int(bags * WITH_THE_REST) - int(written * WITH_THE_REST), 0)


def _memory(settings: StudySettings) -> Finding:
    here, workers = memory_bytes(), settings.n_workers
    wanted = settings.memory_gib
    if wanted is not None and wanted * GIB > here and settings.kind == "local":
        found = f"memory_gib is {wanted:g}, the machine has {here / GIB:.1f} GiB"
        return Finding("memory", "limit of an item", "warning", found, "Lower 'memory_gib', or leave it out")
    if settings.kind in ("slurm", "scheduler"):
        return Finding("memory", "workers", "ok", "that of other machines, not looked at")
    share = here / GIB / workers
    if settings.kind == "local" and share < 1:
        found = f"{share:.1f} GiB for each of {workers} workers"
        return Finding("memory", "share of a worker", "warning", found, "Lower 'workers'")
    return Finding("memory", "share of a worker", "ok", f"{share:.1f} GiB")
