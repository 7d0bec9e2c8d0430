"""Reading CTs and tumour masks: NIfTI, NRRD, and for the CT a folder with one DICOM series."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.dicom import DicomSeries, find_series
from sparra.radiology.errors import EmptyMaskError, LabelAbsentError
from sparra.radiology.geometry import Grid, require_same_grid
from sparra.radiology.nifti import is_nifti, read_voxels, require_spacing, require_whole

# ITK writes its warnings (e.g. on rounded direction cosines) to stderr, across the progress bars; what
# matters is checked here and told as a UserError.
sitk.ProcessObject.GlobalWarningDisplayOff()

_SUFFIXES = (".nii", ".nii.gz", ".nrrd")
_LISTED_LABELS = 20


def read_ct(path: Path, spacing_known: bool = False) -> sitk.Image:
    """Read a CT as float32 HU.

    Parameters
    ----------
    path : Path
        A NIfTI or NRRD file, or a folder with one DICOM CT series.
    spacing_known : bool
        Whether the caller knows the spacing; else a header without one is an error.

    Raises
    ------
    UserError
        If it is absent, unreadable, cut short, not three-dimensional, or its slices are not an even stack.
    """
    if path.is_dir():
        return _read_series(find_series(path), path)
    return _read_file(path, as_float=True, spacing_known=spacing_known)


def read_mask(path: Path, ct: sitk.Image, label: int | Sequence[int], spacing_known: bool = False) -> sitk.Image:
    """Read a mask as uint8, 1 where it holds `label` (or one of several), on exactly the CT's grid.

    Raises
    ------
    GeometryMismatchError
        If any corner voxel lies more than `GEOMETRY_TOLERANCE_MM` from the CT's.
    EmptyMaskError, LabelAbsentError
        If there is nothing to find.
    UserError
        If the file is absent, unreadable or cut short.
    """
    _refuse_dicom_mask(path)
    image = _read_file(path, as_float=False, spacing_known=spacing_known)
    require_same_grid(Grid.of(ct), Grid.of(image), path)
    voxels = sitk.GetArrayViewFromImage(image)
    wanted = _as_labels(label)
    chosen = np.isin(voxels, wanted) if len(wanted) > 1 else voxels == wanted[0]
    if not chosen.any():
        _tell_labels(np.unique(voxels), wanted, path)
    mask = sitk.GetImageFromArray(chosen.astype(np.uint8))
    mask.CopyInformation(ct)
    return mask


def check_ct(image: Path, mask: Path | None, label: int | Sequence[int] | None, spacing_known: bool = False) -> None:
    """Check by headers alone that a CT and its mask can be read and belong together.

    Whether the mask holds `label` shows only when it is read.

    Raises
    ------
    UserError
        With the first thing found wrong.
    """
    if mask is None:
        raise UserError("this CT has no mask", image, "Give a tumour mask in the column 'mask' of the images table")
    if label is not None and min(_as_labels(label), default=0) < 1:
        raise UserError(f"the mask's label is {label}, but 0 and less are background", mask)
    _refuse_dicom_mask(mask)
    ct_grid = find_series(image).grid if image.is_dir() else _file_grid(image, spacing_known)
    require_same_grid(ct_grid, _file_grid(mask, spacing_known), mask)


def _as_labels(label: int | Sequence[int]) -> list[int]:
    return [label] if isinstance(label, int) else list(label)


def _tell_labels(found: Any, wanted: list[int], path: Path) -> None:
    present = [value for value in found[np.isfinite(found)].tolist() if value != 0]
    if not present:
        raise EmptyMaskError("the mask is empty: all voxels are background", path)
    listing = ", ".join(f"{value:g}" for value in present[:_LISTED_LABELS])
    more = f" and {len(present) - _LISTED_LABELS} more" if len(present) > _LISTED_LABELS else ""
    asked = " or ".join(map(str, wanted))
    raise LabelAbsentError(f"label {asked} is not in the mask, which holds {listing}{more}", path, "Set 'label'")


def _refuse_dicom_mask(path: Path) -> None:
    if path.is_dir() or path.suffix.lower() == ".dcm":
        raise UserError("masks in DICOM (RTSTRUCT, SEG) are not read yet", path, "Convert it to NIfTI on the CT's grid")


def _header(path: Path, spacing_known: bool) -> Any:
    """Return a reader that has read the header of a three-dimensional image of one channel."""
    if not path.exists():
        raise UserError("no such file or folder", path)
    if not path.name.lower().endswith(_SUFFIXES):
        raise UserError(
            f"'{path.suffix}' is no format read here",
            path,
            f"Use {', '.join(_SUFFIXES)} or a folder of DICOM slices",
        )
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        what = "the image's header cannot be read"
        if "orthonormal" in str(error):
            what = "the image's axes are not at right angles, or its header holds none"
        raise UserError(what, path, "Copy or export the file again") from None
    if is_nifti(path) and not spacing_known:
        require_spacing(path)
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise UserError(
            f"the image has {reader.GetDimension()} dimensions and {reader.GetNumberOfComponents()} channels"
            " where one 3-D volume of one channel is needed",
            path,
        )
    return reader


def _file_grid(path: Path, spacing_known: bool) -> Grid:
    reader = _header(path, spacing_known)
    if is_nifti(path):
        require_whole(path, reader)
    return Grid.of(reader)


def _read_file(path: Path, *, as_float: bool, spacing_known: bool) -> sitk.Image:
    reader = _header(path, spacing_known)
    if is_nifti(path):
        image: sitk.Image = sitk.GetImageFromArray(read_voxels(path, reader, as_float=as_float))
        _place(image, Grid.of(reader))
        return image
    if as_float:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        image = reader.Execute()
    except RuntimeError:
        raise UserError("the image's voxels cannot be read", path, "Copy or export the file again") from None
    return image


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
    _place(image, series.grid)
    return image


def _place(image: sitk.Image, grid: Grid) -> None:
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
