"""A CT to scroll through: its voxels on disk, seen along the patient's axes."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from sparra.bags.preview import Preview
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.maps.paint import paint
from sparra.radiology.geometry import Grid
from sparra.radiology.io import Reading, read_ct, read_pair
from sparra.radiology.masks.labels import Labels
from sparra.report.maps import VIEWS, View
from sparra.report.overlay import patient_volume

PLANES: Mapping[str, View] = {view.name.lower(): view for view in VIEWS}
NO_PATCHES = np.zeros((0, 3))
AIR_HU = -1024


@dataclass(frozen=True)
class Volume:
    """A CT whose voxels are read from disk as they are asked for.

    Attributes
    ----------
    preview : Preview
        Voxels in HU, mask of the tumour (or None) and geometry as in the file.
    folder : Path or None
        Where the voxels lie while the volume is open.
    """

    preview: Preview
    folder: Path | None = None

    def describe(self) -> dict[str, Any]:
        """Return, JSON-ready, the number of slices, their size in mm and the letters at the edges of each plane."""
        volume = patient_volume(self.preview, NO_PATCHES)
        counts = volume.pixels.shape[::-1]
        return {
            name: {
                "slices": int(counts[view.through]),
                "width": int(counts[view.across]),
                "height": int(counts[view.down]),
                "spacing_mm": [volume.spacing_mm[view.across], volume.spacing_mm[view.down]],
                "thickness_mm": volume.spacing_mm[view.through],
                "edges": list(view.edges),
            }
            for name, view in PLANES.items()
        }

    def slice_hu(self, plane: str, index: int) -> NDArray[np.int16]:
        """Return a slice in HU, rows from the top of the picture to its bottom.

        Raises
        ------
        IndexError
            If the plane has no such slice.
        """
        return _cut(patient_volume(self.preview, NO_PATCHES).pixels, PLANES[plane], index)

    def outline(self, plane: str, index: int) -> NDArray[np.bool_]:
        """Return the rim of the tumour's mask in a slice; False throughout where there is no mask."""
        mask = patient_volume(self.preview, NO_PATCHES).mask
        if mask is None:
            return np.zeros(self.slice_hu(plane, index).shape, dtype=np.bool_)
        inside = np.asarray(_cut(mask, PLANES[plane], index), dtype=np.bool_)
        rim: NDArray[np.bool_] = inside & ~ndimage.binary_erosion(inside)
        return rim

    def heat(
        self,
        plane: str,
        index: int,
        positions: NDArray[np.float64],
        patch_size: tuple[float, ...],
        values: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Paint the patches that a slice passes through, on its pixels; NaN where there is none.

        Parameters
        ----------
        plane : str
        index : int
        positions : ndarray of float64, shape (n_patches, 3)
            Centres in mm, LPS.
        patch_size : tuple of float
            Sides in mm along the axes of the scan.
        values : ndarray of float64, shape (n_patches,)
        """
        view, volume = PLANES[plane], patient_volume(self.preview, positions)
        shape = self.slice_hu(plane, index).shape
        size = np.asarray(self._along_patient(patch_size)) / np.asarray(volume.spacing_mm)
        met = np.abs(volume.centres[:, view.through] - index) <= size[view.through] / 2
        centres = volume.centres[met][:, [view.across, view.down]]
        painted = paint(centres, (float(size[view.across]), float(size[view.down])), values[met], shape)
        return painted[::-1] if view.flip else painted

    def slice_of(self, position: NDArray[np.float64]) -> dict[str, int]:
        """Return the slice of each plane that passes through a point (mm, LPS)."""
        volume = patient_volume(self.preview, position[None])
        counts = volume.pixels.shape[::-1]
        return {
            name: int(np.clip(round(float(volume.centres[0, view.through])), 0, counts[view.through] - 1))
            for name, view in PLANES.items()
        }

    def _along_patient(self, lengths: tuple[float, ...]) -> tuple[float, ...]:
        """Turn lengths along the scan's axes into lengths along the patient's."""
        turned = patient_volume(_with_spacing(self.preview, lengths), NO_PATCHES).spacing_mm
        return tuple(turned)


def open_volume(image: ImageRecord, label: Labels, resample_mask: bool, room: Path) -> Volume:
    """Read a CT and its mask once and lay its voxels on disk, where they are read from.

    Raises
    ------
    UserError
        If the CT cannot be read.
    """
    scan, drawn = _read(image, label, resample_mask)
    folder = Path(mkdtemp(dir=room))
    voxels = sitk.GetArrayViewFromImage(scan)
    grid = Grid.of(scan)
    preview = Preview(
        "ct",
        _on_disk(folder / "voxels.npy", voxels, np.int16),
        None if drawn is None else _on_disk(folder / "mask.npy", sitk.GetArrayViewFromImage(drawn), np.bool_),
        grid.spacing,
        grid.origin,
        grid.direction,
    )
    return Volume(preview, folder)


def close_volume(volume: Volume) -> None:
    """Remove a volume's voxels from disk."""
    if volume.folder is not None:
        shutil.rmtree(volume.folder, ignore_errors=True)


def _read(image: ImageRecord, label: Labels, resample_mask: bool) -> tuple[sitk.Image, sitk.Image | None]:
    """Read a CT with its mask, or alone where it has none or the mask cannot be read any more."""
    if image.mask is not None:
        reading = Reading(image.spacing_mm, image.series, resample_mask or image.resample_mask)
        with suppress(UserError):
            return read_pair(image.path, image.mask, image.label or label, reading)
    scan = read_ct(image.path, image.spacing_mm is not None, image.series)
    if image.spacing_mm is not None:
        scan.SetSpacing(image.spacing_mm)
    return scan, None


def _on_disk(path: Path, voxels: NDArray[Any], dtype: type) -> NDArray[Any]:
    """Write voxels slice by slice and return them mapped; HU are rounded, and what is no number is air."""
    stored = np.lib.format.open_memmap(path, "w+", dtype, voxels.shape)
    limits = np.iinfo(np.int16)
    for index, section in enumerate(voxels):
        if dtype is np.int16:
            section = np.rint(np.nan_to_num(section, nan=AIR_HU).clip(limits.min, limits.max))
        stored[index] = section
    stored.flush()
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _cut(volume: NDArray[Any], view: View, index: int) -> NDArray[Any]:
    axis = 2 - view.through
    if not 0 <= index < volume.shape[axis]:
        raise IndexError(f"no slice {index}")
    section: NDArray[Any] = np.take(volume, index, axis=axis)
    return section[::-1] if view.flip else section


def _with_spacing(preview: Preview, spacing: tuple[float, ...]) -> Preview:
    return Preview(preview.modality, preview.pixels, None, spacing, preview.origin, preview.direction)
