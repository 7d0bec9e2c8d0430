"""Reading CTs and their masks: NIfTI, NRRD, DICOM series, DICOM-SEG, RTSTRUCT."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.dicom import DicomSeries, find_series
from sparra.radiology.masks import check_mask, read_mask
from sparra.radiology.masks.labels import Labels
from sparra.radiology.volume import place, read_grid, read_volume

__all__ = ["Reading", "check_ct", "read_ct", "read_mask", "read_pair"]


@dataclass(frozen=True)
class Reading:
    """How one CT and its mask are read where their files leave it open.

    Attributes
    ----------
    spacing_mm : tuple of float or None
        Voxel size along x, y, z that replaces a wrong header of CT and mask.
    series : str or None
        SeriesNumber or SeriesInstanceUID, where the folder holds several series.
    resample_mask : bool
        Whether a mask off the CT's lattice is resampled onto it; else it is refused.
    """

    spacing_mm: tuple[float, ...] | None = None
    series: str | None = None
    resample_mask: bool = False


def read_ct(path: Path, spacing_known: bool = False, series: str | None = None) -> sitk.Image:
    """Read a CT as float32 HU.

    Parameters
    ----------
    path : Path
        A NIfTI or NRRD file, or a folder of DICOM slices.
    spacing_known : bool
        Whether the caller knows the spacing; else a header without one is an error.
    series : str, optional
        SeriesNumber or SeriesInstanceUID, where the folder holds several series.

    Raises
    ------
    UserError
        If it is absent, unreadable, cut short, not three-dimensional, or its slices are not an even stack.
    """
    if path.is_dir():
        return _read_series(find_series(path, series), path)
    _refuse_series(path, series)
    return read_volume(path, as_float=True, spacing_known=spacing_known)


def read_pair(image: Path, mask: Path, label: Labels, reading: Reading) -> tuple[sitk.Image, sitk.Image]:
    """Read a CT as float32 HU and its mask as uint8 0 and 1, on one grid.

    Raises
    ------
    UserError
        As `read_ct` and `sparra.radiology.masks.read_mask`.
    """
    known = reading.spacing_mm is not None
    frame = ""
    if image.is_dir():
        series = find_series(image, reading.series)
        ct, frame = _read_series(series, image), series.frame
    else:
        ct = read_ct(image, known, reading.series)
    drawn = read_mask(mask, ct, label, known, resample=reading.resample_mask, frame=frame)
    if reading.spacing_mm is not None:
        ct.SetSpacing(reading.spacing_mm)
        drawn.SetSpacing(reading.spacing_mm)
    return ct, drawn


def check_ct(
    image: Path,
    mask: Path | None,
    label: Labels | None,
    spacing_known: bool = False,
    *,
    series: str | None = None,
    resample_mask: bool = False,
) -> None:
    """Check by headers alone that a CT and its mask can be read and belong together.

    Whether a label map holds `label` shows only when it is read.

    Raises
    ------
    UserError
        With the first thing found wrong.
    """
    if mask is None:
        raise UserError("this CT has no mask", image, "Give a tumour mask in the column 'mask' of the images table")
    frame = ""
    if image.is_dir():
        found = find_series(image, series)
        grid, frame = found.grid, found.frame
    else:
        _refuse_series(image, series)
        grid = read_grid(image, spacing_known)
    check_mask(mask, grid, label, spacing_known, resample=resample_mask, frame=frame)


def _refuse_series(path: Path, series: str | None) -> None:
    if series is not None and path.exists():
        raise UserError("a series is named, but the CT is one file", path, "Empty the column 'series' in its row")


def _read_series(series: DicomSeries, folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in series.files])
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        image: sitk.Image = reader.Execute()
    except RuntimeError:
        raise UserError(
            "a slice of the DICOM series cannot be read", folder, "Copy or export the series again"
        ) from None
    # ITK takes the gap from the first two slices; positions are rounded, so the whole stack's is truer.
    place(image, series.grid)
    return image
