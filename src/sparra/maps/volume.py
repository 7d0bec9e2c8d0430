"""A CT's map on the CT's own voxels, as NIfTI."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.maps.label import MapLabel
from sparra.maps.paint import paint
from sparra.maps.scores import ImageScores
from sparra.radiology.dicom import DicomSeries, find_series
from sparra.radiology.geometry import Grid
from sparra.radiology.nifti import is_nifti, nifti1_header
from sparra.radiology.volume import read_grid

# Offsets in a NIfTI-1 header (nifti1.h).
_HEADER, _DATA = 348, 352
_DIM, _DATATYPE, _PIXDIM, _VOX_OFFSET = 40, 70, 76, 108
_UNITS, _DESCRIPTION, _PLACE, _MAGIC = 123, 148, slice(252, 328), 344
_FLOAT32, _MM = 16, 2
_DESCRIPTION_BYTES = 79


@dataclass(frozen=True)
class CtSource:
    """The CT that a map lies on.

    Attributes
    ----------
    path : Path
        NIfTI or NRRD file, or folder of DICOM slices.
    grid : Grid
        As its file says.
    true_grid : Grid
        The same with the spacing that replaced a wrong header's; positions of patches follow this one.
    series : DicomSeries or None
    """

    path: Path
    grid: Grid
    true_grid: Grid
    series: DicomSeries | None = None


def open_ct(path: Path, series: str | None = None, spacing_mm: tuple[float, ...] | None = None) -> CtSource:
    """Read where a CT's voxels lie; headers only.

    Parameters
    ----------
    path : Path
    series : str, optional
        SeriesNumber or SeriesInstanceUID, where the folder holds several.
    spacing_mm : tuple of float, optional
        Voxel size along x, y, z that replaced the header's when features were made.

    Raises
    ------
    UserError
        If it cannot be read any more.
    """
    found = None
    if path.is_dir():
        found = find_series(path, series)
        grid = found.grid
    else:
        grid = read_grid(path, spacing_mm is not None)
    true = grid if spacing_mm is None else Grid(grid.size, tuple(spacing_mm), grid.origin, grid.direction)
    return CtSource(path, grid, true, found)


def score_volume(scores: ImageScores, ct: CtSource, values: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Paint the patches on the CT's voxels.

    A voxel holds the mean score of the patches that its centre lies in, 0 outside all patches: NaN would be more
    telling, but the colour scales of common viewers fail on it. A raw score inside a patch is above 0.

    Parameters
    ----------
    scores : ImageScores
    ct : CtSource
    values : ndarray of float64, shape (n_patches,), optional
        Painted in place of ``scores.score``.

    Returns
    -------
    ndarray of float32, shape (z, y, x)

    Raises
    ------
    UserError
        If no patch lies on the CT.
    """
    grid = ct.true_grid
    size = np.asarray(scores.patch_size) / np.asarray(grid.spacing)
    shape = (grid.size[2], grid.size[1], grid.size[0])
    painted = paint(grid.to_index(scores.positions), size.tolist(), scores.score if values is None else values, shape)
    if np.isnan(painted).all() and not np.isnan(scores.score if values is None else values).any():
        raise UserError("no patch lies on this CT", ct.path, "It is another than the features were made of")
    return np.nan_to_num(painted).astype(np.float32)


def write_nifti(path: Path, volume: NDArray[np.float32], ct: CtSource, scores: ImageScores, label: MapLabel) -> None:
    """Write a volume [z, y, x] as NIfTI-1 with the CT's geometry.

    Of a NIfTI CT the fields that place it (pixdim, qform, sform and their codes) are copied as they are, rounded to
    float32 where it is NIfTI-2; of any other, they are made from its grid. What the scores are stands in a comment
    extension, and in short in the description.

    Raises
    ------
    UserError
        If the CT's header cannot be read any more.
    """
    header = _header(ct)
    words = f"sparra: {'raw' if scores.normalisation == 'none' else scores.normalisation} importance"
    if label.verdict == "failed":
        words = f"FAILED ITS CHECKS: {words}"
    else:
        words += ", checks held" if label.verdict == "trusted" else ", not tested"
    raw = words.encode("ascii", "replace")[:_DESCRIPTION_BYTES]
    header[_DESCRIPTION : _DESCRIPTION + len(raw)] = raw
    comment = _comment("\n".join(f"{key}: {value}" for key, value in label.describe(scores).items()))
    _put(header, _VOX_OFFSET, "<f4", _DATA + len(comment))
    content = bytes(header) + b"\x01\0\0\0" + comment
    with atomic_path(path) as temporary, temporary.open("wb") as raw_file:
        if path.name.endswith(".gz"):
            # No time and no name, so that equal maps are equal files.
            with gzip.GzipFile("", "wb", 5, raw_file, mtime=0) as packed:
                _write(packed, content, volume)
        else:
            _write(raw_file, content, volume)


def _write(file: Any, header: bytes, volume: NDArray[np.float32]) -> None:
    file.write(header)
    for plane in volume:
        file.write(np.ascontiguousarray(plane, dtype="<f4").tobytes())


def _header(ct: CtSource) -> bytearray:
    header = bytearray(_HEADER)
    _put(header, 0, "<i4", _HEADER)
    header[_MAGIC : _MAGIC + 4] = b"n+1\0"
    _put(header, _DIM, "<i2", [3, *ct.grid.size, 1, 1, 1, 1])
    _put(header, _DATATYPE, "<i2", [_FLOAT32, 32])
    _put(header, 112, "<f4", [1.0, 0.0])  # scl_slope, scl_inter
    header[_UNITS] = _MM
    if is_nifti(ct.path):
        _copy_place(header, *nifti1_header(ct.path))
    else:
        _place(header, ct.grid)
    return header


def _copy_place(header: bytearray, source: bytes, order: str) -> None:
    """Copy pixdim[0..3], the unit, and the fields from qform_code to srow_z of a NIfTI-1 header."""
    _put(header, _PIXDIM, "<f4", [*np.frombuffer(source, order + "f4", 4, _PIXDIM), 0, 0, 0, 0])
    _put(header, _PLACE.start, "<i2", np.frombuffer(source, order + "i2", 2, _PLACE.start))
    _put(header, _PLACE.start + 4, "<f4", np.frombuffer(source, order + "f4", 18, _PLACE.start + 4))
    header[_UNITS] = source[_UNITS]


def _place(header: bytearray, grid: Grid) -> None:
    """Write a grid in LPS as qform and sform in RAS."""
    turn = np.diag([-1.0, -1.0, 1.0])
    axes = turn @ grid.direction
    origin = turn @ np.asarray(grid.origin)
    sign = 1.0 if np.linalg.det(axes) > 0 else -1.0
    quaternion = _quaternion(axes * [1, 1, sign])
    _put(header, _PIXDIM, "<f4", [sign, *grid.spacing, 0, 0, 0, 0])
    _put(header, _PLACE.start, "<i2", [1, 1])
    affine = np.column_stack([axes * np.asarray(grid.spacing), origin])
    _put(header, _PLACE.start + 4, "<f4", [*quaternion, *origin, *affine.ravel()])


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (b, c, d) of the unit quaternion with a ≥ 0: the eigenvector of Bar-Itzhack's symmetric matrix."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    matrix = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(matrix)[1][:, -1]
    return np.array([b, c, d]) * (1.0 if a >= 0 else -1.0)


def _comment(text: str) -> bytes:
    """Return a NIfTI comment extension (code 6), padded to 16 bytes."""
    content = text.encode("utf-8")
    size = -(-(len(content) + 8) // 16) * 16
    return np.array([size, 6], "<i4").tobytes() + content.ljust(size - 8, b"\0")


def _put(header: bytearray, offset: int, kind: str, values: Any) -> None:
    content = np.asarray(values).astype(kind).tobytes()
    header[offset : offset + len(content)] = content
