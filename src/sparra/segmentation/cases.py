"""Training cases in KiTS layout, prepared once and kept on disk, from which crops are read at any place."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.radiology.geometry import Grid
from sparra.radiology.io import read_ct
from sparra.radiology.masks.placement import require_aligned
from sparra.radiology.volume import image_on, read_volume
from sparra.segmentation.preprocess import AIR_HU, prepare, resample_labels
from sparra.segmentation.regions import LABELS

IMAGE, SEGMENTATION = "imaging.nii.gz", "segmentation.nii.gz"
STREAM = 61  # of random draws, see docs/architecture.md
_REMEMBERED = 5000  # voxels of each label that crops may be centred on
_SAMPLED = 100_000  # foreground voxels that the intensity bounds are taken from


@dataclass(frozen=True)
class Case:
    """One CT with its label map.

    Attributes
    ----------
    name : str
    image, labels : Path
    """

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class PreparedCase:
    """A case at the network's spacing, on disk.

    Attributes
    ----------
    case : Case
    path : Path
        Safetensors with ``hu`` and ``labels`` (x, y, z), ``centres_<label>`` (n, 3), ``foreground`` (HU).
    shape : tuple of int
    """

    case: Case
    path: Path
    shape: tuple[int, ...]

    def crop(self, generator: np.random.Generator, side: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return a cube around a voxel of a label drawn at random among those present, background included.

        Where the volume is smaller than the cube, it is padded with air.
        """
        with safe_open(self.path, framework="numpy") as file:
            names = sorted(name for name in file.keys() if name.startswith("centres_"))  # noqa: SIM118
            centres = file.get_tensor(names[generator.integers(len(names))])
            centre = centres[generator.integers(len(centres))]
            low = [int(np.clip(c - side // 2, 0, max(n - side, 0))) for c, n in zip(centre, self.shape, strict=True)]
            place = tuple(slice(a, min(a + side, n)) for a, n in zip(low, self.shape, strict=True))
            hu, labels = file.get_slice("hu")[place], file.get_slice("labels")[place]
        padding = [(0, side - n) for n in hu.shape]
        return np.pad(hu, padding, constant_values=int(AIR_HU)), np.pad(labels, padding)

    def volume(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return the whole case."""
        with safe_open(self.path, framework="numpy") as file:
            return file.get_tensor("hu"), file.get_tensor("labels")

    def foreground(self) -> NDArray[np.int16]:
        """Return the HU of a sample of the labelled voxels."""
        with safe_open(self.path, framework="numpy") as file:
            found: NDArray[np.int16] = file.get_tensor("foreground")
        return found


def find_cases(folder: Path) -> list[Case]:
    """List the cases of a folder in KiTS layout: ``case_*/imaging.nii.gz`` with ``segmentation.nii.gz``.

    Raises
    ------
    UserError
        If there are fewer than two, or one lacks a file.
    """
    if not folder.is_dir():
        raise UserError("no such folder", folder)
    cases = []
    for child in sorted(folder.glob("case_*")):
        for name in (IMAGE, SEGMENTATION):
            if not (child / name).is_file():
                raise UserError(f"the case has no {name}", child, "Complete or remove it")
        cases.append(Case(child.name, child / IMAGE, child / SEGMENTATION))
    if len(cases) < 2:
        mend = f"KiTS layout is case_00000/{IMAGE} and case_00000/{SEGMENTATION}, at least two cases"
        raise UserError(f"the folder holds {len(cases)} cases", folder, mend)
    return cases


def split_cases(cases: Sequence[Case], folds: int, fold: int, seed: int) -> tuple[list[Case], list[Case]]:
    """Deal the cases into `folds` parts at random; return those for training and those for validation."""
    folds = min(folds, len(cases))
    order = np.random.default_rng([STREAM, seed]).permutation(len(cases))
    part = {cases[index].name for place, index in enumerate(order) if place % folds == fold % folds}
    return [c for c in cases if c.name not in part], [c for c in cases if c.name in part]


def read_case(case: Case) -> tuple[sitk.Image, NDArray[np.uint8]]:
    """Read a case's CT and label map [z, y, x] on its grid.

    Raises
    ------
    UserError
        If a file is broken, the label map is on another grid or holds a label unknown to KiTS.
    """
    ct = read_ct(case.image)
    labels = read_volume(case.labels, as_float=False)
    require_aligned(Grid.of(labels), Grid.of(ct), case.labels, part=False)
    voxels = sitk.GetArrayFromImage(sitk.Resample(labels, ct, sitk.Transform(), sitk.sitkNearestNeighbor))
    found = set(np.unique(voxels).tolist())
    if unknown := found - {0, *LABELS}:
        listing = ", ".join(f"{value:g}" for value in sorted(unknown))
        raise UserError(f"the label map holds {listing}; KiTS knows 1 kidney, 2 tumour, 3 cyst", case.labels)
    if not found - {0}:
        raise UserError("the label map is empty", case.labels)
    return ct, voxels.astype(np.uint8)


def prepare_case(case: Case, spacing_mm: float, cache: Path) -> PreparedCase:
    """Bring a case to the network's spacing, unless the cache holds it already.

    Raises
    ------
    UserError
        As `read_case`.
    """
    path = cache / f"{case.name}.safetensors"
    stamp = json.dumps({"spacing_mm": spacing_mm, "files": [_stamp(case.image), _stamp(case.labels)]})
    if (shape := _cached(path, stamp)) is not None:
        return PreparedCase(case, path, shape)
    ct, voxels = read_case(case)
    prepared = prepare(ct, spacing_mm)
    labels = resample_labels(image_on(Grid.of(ct), voxels), prepared.grid)
    generator = np.random.default_rng([STREAM, 0])
    tensors: dict[str, NDArray[Any]] = {"hu": prepared.hu, "labels": np.ascontiguousarray(labels)}
    for label in (0, *LABELS):
        places = np.flatnonzero(labels == label)
        if places.size:
            chosen = generator.choice(places, min(places.size, _REMEMBERED), replace=False)
            tensors[f"centres_{label}"] = np.stack(np.unravel_index(chosen, labels.shape), axis=1).astype(np.int32)
    inside = prepared.hu[labels > 0]
    tensors["foreground"] = generator.choice(inside, min(inside.size, _SAMPLED), replace=False)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"stamp": stamp})
    return PreparedCase(case, path, prepared.hu.shape)


def intensity_bounds(cases: Sequence[PreparedCase]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentile of the labelled voxels' HU over all cases."""
    low, high = np.percentile(np.concatenate([case.foreground() for case in cases]), [0.5, 99.5])
    return float(low), float(max(high, low + 1))


def _stamp(path: Path) -> list[str | int]:
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def _cached(path: Path, stamp: str) -> tuple[int, ...] | None:
    if not path.is_file():
        return None
    with safe_open(path, framework="numpy") as file:
        if (file.metadata() or {}).get("stamp") != stamp:
            return None
        return tuple(file.get_slice("hu").get_shape())
