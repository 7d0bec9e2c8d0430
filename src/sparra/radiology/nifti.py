"""Voxels of NIfTI files, read here because ITK's reader hides two faults.

It fills the missing part of a truncated file with zeros, and turns NaN and infinite voxels into 0, which in a
CT is water. Geometry still comes from ITK.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.unpacking import MOST_PACKED, promises_too_much

_BLOCK = 1 << 22
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_NIFTI_1 = 348
#: Fields of NIfTI-2 with their counterparts in NIfTI-1: type and offset in each, and how many (nifti2.h, nifti1.h).
_COUNTERPARTS = (
    ("i2", 12, "i2", 70, 2),  # datatype, bitpix
    ("i8", 16, "i2", 40, 8),  # dim
    ("f8", 104, "f4", 76, 8),  # pixdim
    ("i8", 168, "f4", 108, 1),  # vox_offset
    ("f8", 176, "f4", 112, 2),  # scl_slope, scl_inter
    ("i4", 344, "i2", 252, 2),  # qform_code, sform_code
    ("f8", 352, "f4", 256, 6),  # quatern_b to qoffset_z
    ("f8", 400, "f4", 280, 12),  # srow_x, srow_y, srow_z
    ("i4", 500, "u1", 123, 1),  # xyzt_units
)
#: Where the spacings along x, y, z stand, by the length of the header.
_PIXDIM = {_NIFTI_1: 80, 540: 112}
#: Less is 0 for ITK.
_LEAST_MM = 1e-6
_MEND = "Copy or download it again"


def is_nifti(path: Path) -> bool:
    """Tell by the name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


@dataclass(frozen=True)
class _Layout:
    offset: int
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    slope: float
    intercept: float

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape) * self.stored.itemsize

    @property
    def scaled(self) -> bool:
        # A slope of 0 means that there is no scaling.
        return self.slope != 0 and (self.slope, self.intercept) != (1.0, 0.0)


def require_spacing(path: Path) -> None:
    """Check that the header says how large a voxel is; ITK takes 1 mm for 0.

    Raises
    ------
    UserError
        If a spacing is 0 or not a number.
    """
    header, order = header_bytes(path)
    spacing = np.frombuffer(header, order + ("f4" if len(header) == _NIFTI_1 else "f8"), 3, _PIXDIM[len(header)])
    if not (np.isfinite(spacing) & (np.abs(spacing) > _LEAST_MM)).all():
        listing = " x ".join(f"{value:g}" for value in spacing)
        raise UserError(f"the header gives {listing} mm as voxel spacing", path, "Export it with its true spacing")


def require_whole(path: Path, reader: Any) -> None:
    """Compare the file's length with what its header promises, without unpacking it where that is possible.

    Parameters
    ----------
    path : Path
    reader : SimpleITK.ImageFileReader
        One that has read the header of `path`.

    Raises
    ------
    UserError
        If voxels are missing.
    """
    layout = _layout(path, reader)
    if not _is_packed(path):
        found = path.stat().st_size
    elif _noted_length(path) == layout.end % (1 << 32):
        return
    else:
        # A file packed in several members notes the last one's length only.
        _content(path, layout)
        return
    if found < layout.end:
        raise _cut_short(path, found, layout.end)


def read_voxels(path: Path, reader: Any, *, as_float: bool) -> NDArray[Any]:
    """Read all voxels, with the header's slope and intercept applied.

    Parameters
    ----------
    path : Path
    reader : SimpleITK.ImageFileReader
        One that has read the header of `path`.
    as_float : bool
        Return float32; else the stored type, or float64 where the header scales it.

    Returns
    -------
    ndarray, shape (z, y, x)

    Raises
    ------
    UserError
        If voxels are missing or the compressed data are damaged.
    """
    layout = _layout(path, reader)
    content = _content(path, layout)
    voxels = np.frombuffer(content, layout.stored, offset=layout.offset).reshape(layout.shape)
    wanted = np.dtype(np.float32 if as_float else np.float64 if layout.scaled else layout.stored.newbyteorder("="))
    result = voxels.astype(wanted, copy=False)
    if layout.scaled:
        result = result * wanted.type(layout.slope) + wanted.type(layout.intercept)
    return result


def _layout(path: Path, reader: Any) -> _Layout:
    code = int(reader.GetMetaData("datatype"))
    if code not in _TYPES:
        raise UserError(f"voxels of NIfTI data type {code} are not read", path, "Export it as int16 or float32")
    header, order = header_bytes(path)
    offset = max(int(float(reader.GetMetaData("vox_offset"))), len(header))
    slope, intercept = (float(reader.GetMetaData(key)) for key in ("scl_slope", "scl_inter"))
    if not math.isfinite(slope):
        slope = 0.0
    return _Layout(offset, np.dtype(order + _TYPES[code]), tuple(reader.GetSize())[::-1], slope, intercept)


def header_bytes(path: Path) -> tuple[bytes, str]:
    """Return the header of NIfTI-1 or NIfTI-2, which differ in length, and its byte order."""
    with _opened(path) as handle:
        content = handle.read(max(_PIXDIM))
    for order in "<>":
        length = int(np.frombuffer(content, order + "i4", 1)[0])
        if length in _PIXDIM and len(content) >= length:
            return content[:length], order
    raise UserError("this is no NIfTI header", path, _MEND)


def nifti1_header(path: Path) -> tuple[bytes, str]:
    """Return the header as NIfTI-1, that of NIfTI-2 turned into one, and its byte order.

    Raises
    ------
    UserError
        If it is no NIfTI header, or a length is beyond NIfTI-1.
    """
    header, order = header_bytes(path)
    if len(header) == _NIFTI_1:
        return header, order
    turned = bytearray(_NIFTI_1)
    turned[:4] = np.array(_NIFTI_1, order + "i4").tobytes()
    turned[344:348] = b"n+1\0"
    for kind, offset, wanted, place, count in _COUNTERPARTS:
        values = np.frombuffer(header, order + kind, count, offset)
        if wanted[0] in "iu" and (np.abs(values.astype(np.float64)) > np.iinfo(wanted).max).any():
            raise UserError("the NIfTI-2 header holds a length that no CT has", path, _MEND)
        content = values.astype(order + wanted).tobytes()
        turned[place : place + len(content)] = content
    return bytes(turned), order


def is_nifti2(path: Path) -> bool:
    """Tell by the length of the header; False for what is no NIfTI file."""
    try:
        return is_nifti(path) and len(header_bytes(path)[0]) != _NIFTI_1
    except (UserError, OSError, ValueError):
        return False


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _cut_short(path: Path, found: int, expected: int) -> UserError:
    return UserError(f"the file is cut short: it holds {found} of {expected} bytes", path, _MEND)


def _noted_length(path: Path) -> int:
    with path.open("rb") as handle:
        handle.seek(-4, 2)
        return int.from_bytes(handle.read(4), "little")


def _content(path: Path, layout: _Layout) -> bytearray:
    size = path.stat().st_size
    # No memory is taken for what a header promises in vain. A mask of few values packs as well as deflate can, and then
    # the length that gzip notes agrees.
    if not _is_packed(path):
        in_vain = layout.end > size
    elif _noted_length(path) == layout.end % (1 << 32):
        in_vain = layout.end > size * MOST_PACKED
    else:
        in_vain = promises_too_much(layout.end, size)
    if in_vain:
        raise _cut_short(path, size, layout.end)
    content = bytearray(layout.end)
    found = _unpack(path, content)
    if found < layout.end:
        raise _cut_short(path, found, layout.end)
    return content


def _unpack(path: Path, content: bytearray) -> int:
    """Fill `content` from the file, read on to its end so that its checksum is seen, return its length."""
    length = 0
    with _opened(path) as handle:
        while block := handle.read(_BLOCK):
            part = block[: max(len(content) - length, 0)]
            content[length : length + len(part)] = part
            length += len(block)
    return length


@contextmanager
def _opened(path: Path) -> Iterator[gzip.GzipFile | BufferedReader]:
    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb") as handle:
            yield handle
    except EOFError:
        raise UserError("the compressed file is cut short", path, _MEND) from None
    except (gzip.BadGzipFile, zlib.error):
        raise UserError("the compressed file is damaged", path, _MEND) from None
