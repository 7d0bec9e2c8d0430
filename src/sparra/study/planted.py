"""Which patches of a simulated cohort lie in the region that carries the planted biomarker."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from sparra.bags.store import read_bag
from sparra.cohort.tables import subject_key
from sparra.files import read_json
from sparra.graphs.graph import SpatialGraph
from sparra.maps.scores import patches_of_image
from sparra.maps.slide_grid import SlideGrid
from sparra.modality import Modality
from sparra.radiology.geometry import Grid
from sparra.study.layout import StudyLayout

FloatArray = NDArray[np.float64]
_Boxes = tuple[NDArray[Any], FloatArray, FloatArray]

#: Part of a patch that must lie in the planted region.
PLANTED_SHARE = 0.5


@dataclass(frozen=True)
class Planted:
    """The truth that `sparra.simulate.cohort.simulate_cohort` wrote beside its tables.

    Attributes
    ----------
    folder : Path
    downsample : int
        How many times smaller a slide's mask is than its level 0.
    """

    folder: Path
    downsample: int

    @property
    def description(self) -> Path:
        """The file that tells how the cohort was simulated."""
        return self.folder / "truth.json"

    @classmethod
    def beside(cls, images: Path) -> "Planted | None":
        """Find the truth beside the table of images; None of a cohort that was not simulated."""
        folder = images.parent / "truth"
        path = folder / "truth.json"
        return cls(folder, int(read_json(path)["slide_downsample"])) if path.exists() else None

    def patches(
        self, layout: StudyLayout, modality: Modality, subject_id: str, graph: SpatialGraph
    ) -> NDArray[np.bool_] | None:
        """Tell of every patch of a graph whether at least half of it lies in the planted region.

        Returns
        -------
        ndarray of bool, shape (n_patches,), or None
            None where the subject has no truth, several images, or features without positions.
        """
        suffix = "ct.nii.gz" if modality == "ct" else "slide.png"
        path = self.folder / f"{subject_key(subject_id)}_{suffix}"
        bag_path = layout.bag(modality, graph.images[0])
        if len(graph.images) != 1 or not path.exists() or not bag_path.exists():
            return None
        bag = read_bag(bag_path)
        if bag.positions is None or bag.patch_size is None or len(bag) != len(patches_of_image(graph, 0)):
            return None
        read = self._ct if modality == "ct" else self._slide
        region, centres, size = read(path, bag.positions, bag.patch_size, bag.provenance)
        return covered_share(region, centres, size) >= PLANTED_SHARE

    def _ct(self, path: Path, positions: FloatArray, size_mm: tuple[float, ...], _: Mapping[str, Any]) -> _Boxes:
        image = sitk.ReadImage(str(path))
        grid = Grid.of(image)
        return sitk.GetArrayFromImage(image) > 0, grid.to_index(positions), np.asarray(size_mm) / grid.spacing

    def _slide(
        self, path: Path, positions: FloatArray, size_um: tuple[float, ...], provenance: Mapping[str, Any]
    ) -> _Boxes:
        with Image.open(path) as picture:
            region = np.asarray(picture.convert("L")) > 0
        pixel_um = np.asarray(SlideGrid.of(provenance, str(path)).mpp) * self.downsample
        return region, positions / pixel_um - 0.5, np.asarray(size_um) / pixel_um


def covered_share(region: NDArray[Any], centres: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of each box that lies in a region, counted in pixels whose centres lie in the box.

    Parameters
    ----------
    region : ndarray of bool, shape ([z,] y, x)
    centres : ndarray of float64, shape (n, d)
        (x, y[, z]) in indices.
    size : ndarray of float64, shape (d,)
        Sides (x, y[, z]) in pixels.
    """
    limit = np.asarray(region.shape[::-1])
    low = np.ceil(centres - size / 2 - 1e-9).astype(int)
    high = np.maximum(np.ceil(centres + size / 2 - 1e-9).astype(int), low + 1)
    volumes = (high - low).prod(axis=1)
    low, high = low.clip(0, limit), high.clip(0, limit)
    boxes = [tuple(slice(a, b) for a, b in zip(*pair, strict=True))[::-1] for pair in zip(low, high, strict=True)]
    covered: NDArray[np.float64] = np.array([region[box].sum() for box in boxes]) / volumes
    return covered
