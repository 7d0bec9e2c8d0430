"""One volume in a NIfTI or NRRD file: its header, its grid, its voxels."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.geometry import Grid
from sparra.radiology.nifti import is_nifti, is_nifti2, nifti1_header, read_voxels, require_spacing, require_whole

# ITK writes its warnings (e.g. on rounded direction cosines) to stderr, across the progress bars; what
# matters is checked here and told as a UserError.
sitk.ProcessObject.GlobalWarningDisplayOff()

SUFFIXES = (".nii", ".nii.gz", ".nrrd")


def is_volume_file(path: Path) -> bool:
    """Tell by the name whether this is a NIfTI or NRRD file."""
    return path.name.lower().endswith(SUFFIXES)


def read_header(path: Path, spacing_known: bool = False) -> Any:
    """Return an ITK reader that has read the header of a three-dimensional image of one channel.

    Raises
    ------
    UserError
        If the file is absent, of another format, or its header is damaged, lacks a spacing or is not 3-D.
    """
    if not path.exists():
        raise UserError("no such file or folder", path)
    if not is_volume_file(path):
        raise UserError(
            f"'{path.suffix}' is no format read here",
            path,
            f"Use {', '.join(SUFFIXES)} or a folder of DICOM slices",
        )
    try:
        reader = _nifti2_reader(path) if is_nifti2(path) else _reader(path)
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


def _reader(path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _nifti2_reader(path: Path) -> Any:
    """Let ITK, which reads NIfTI-1 only, see the header as such; voxels are not read by it."""
    header, _ = nifti1_header(path)
    with TemporaryDirectory(prefix="sparra-header-") as folder:
        plain = Path(folder) / "header.nii"
        plain.write_bytes(header + bytes(4))
        return _reader(plain)


def read_grid(path: Path, spacing_known: bool = False) -> Grid:
    """Return a file's grid from its header; a NIfTI file is also checked to be whole."""
    reader = read_header(path, spacing_known)
    if is_nifti(path):
        require_whole(path, reader)
    return Grid.of(reader)


def read_volume(path: Path, *, as_float: bool, spacing_known: bool = False) -> sitk.Image:
    """Read a file's voxels and geometry, and nothing else of its header, where names may hide.

    Parameters
    ----------
    path : Path
    as_float : bool
        As float32; else as stored.
    spacing_known : bool
        Whether the caller knows the spacing; else a header without one is an error.

    Raises
    ------
    UserError
        As `read_header`, or if the file is cut short or damaged.
    """
    reader = read_header(path, spacing_known)
    if is_nifti(path):
        return image_on(Grid.of(reader), read_voxels(path, reader, as_float=as_float))
    if as_float:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        image: sitk.Image = reader.Execute()
    except RuntimeError:
        raise UserError("the image's voxels cannot be read", path, "Copy or export the file again") from None
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image


def image_on(grid: Grid, voxels: Any) -> sitk.Image:
    """Return `voxels` [z, y, x] as an image on `grid`."""
    image: sitk.Image = sitk.GetImageFromArray(voxels)
    place(image, grid)
    return image


def place(image: sitk.Image, grid: Grid) -> None:
    """Set an image's spacing, origin and direction.

    Raises
    ------
    UserError
        If they span no space, as in a damaged header.
    """
    try:
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction.ravel().tolist())
    except RuntimeError:
        listing = " x ".join(f"{side:g}" for side in grid.spacing)
        raise UserError(f"the geometry in the header (voxels of {listing} mm) spans no space") from None
