"""A folder with one DICOM CT series: which files, in which order, on which grid.

Only geometry, modality, rescaling and the identity of series and frame of reference are read; no message repeats
an identifier or patient data. Series are told apart by their number, which identifies nobody.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import BytesLengthException, InvalidDicomError

from sparra.errors import UserError
from sparra.radiology.geometry import Grid

#: Gaps between slices may differ by this part of the usual gap, or by 0.1 mm: positions are rounded.
_GAP_TOLERANCE = 0.05
_ROUNDING_MM = 0.1
_TAGS = [
    "SeriesInstanceUID",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "RescaleSlope",
    "RescaleIntercept",
    "Modality",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
]
#: Objects that lie beside a series, such as its masks, and are no slices of it.
_NO_IMAGES = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "REG")


@contextmanager
def without_echo() -> Iterator[None]:
    """Silence pydicom's warnings, which repeat values of a header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class DicomSeries:
    """One CT series, sorted by position along the slice normal.

    Attributes
    ----------
    files : tuple of Path
    grid : Grid
    frame : str
        UID of the frame of reference, empty where the slices name none; never shown or stored.
    """

    files: tuple[Path, ...]
    grid: Grid
    frame: str = ""


@dataclass(frozen=True)
class _Slice:
    path: Path
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    pixel_mm: NDArray[np.float64]
    size: tuple[int, int]
    modality: str
    number: str
    frame: str
    in_hu: bool


def find_series(folder: Path, series: str | None = None) -> DicomSeries:
    """Find one CT series in `folder`, or, if no slice lies there, in the folders below it.

    Parameters
    ----------
    folder : Path
    series : str, optional
        SeriesNumber or SeriesInstanceUID of the one to take where there are several.

    Raises
    ------
    UserError
        If there is no series or more than one to choose from, it is no CT, or its slices do not make an even
        stack: slices missing, doubled, or shifted sideways by a tilted gantry.
    """
    found = _series_of(path for path in sorted(folder.iterdir()) if path.is_file())
    if not found:
        found = _series_of(path for path in sorted(folder.rglob("*")) if path.is_file())
    if not found:
        raise UserError("no DICOM slices in this folder", folder, "Name the folder that holds the series itself")
    slices = _chosen(found, series, folder)
    if slices[0].modality != "CT":
        raise UserError(f"the series is {slices[0].modality}, not CT", folder)
    if not all(plane.in_hu for plane in slices):
        raise UserError(
            "a slice lacks RescaleSlope or RescaleIntercept, so its voxels are not in HU", folder, "Export it again"
        )
    return _stack(slices, folder)


def _series_of(paths: Iterable[Path]) -> dict[str, list[_Slice]]:
    series: dict[str, list[_Slice]] = {}
    for path in paths:
        if plane := _read_slice(path):
            series.setdefault(plane[0], []).append(plane[1])
    return series


def _chosen(found: dict[str, list[_Slice]], series: str | None, folder: Path) -> list[_Slice]:
    """Return the slices of the series asked for, or of the only one."""
    wanted = [s for uid, s in found.items() if series is None or series in (uid, s[0].number)]
    if len(wanted) == 1:
        return wanted[0]
    kinds = sorted(((s[0].number or "without number", len(s), s[0].modality) for s in found.values()), key=_by_number)
    listing = ", ".join(f"series {number}: {count} slices ({modality})" for number, count, modality in kinds)
    if series is None:
        what = f"the folder holds {len(found)} series ({listing})"
        mend = "Name one in the column 'series' by its number or SeriesInstanceUID, or keep one CT series in a folder"
    elif wanted:
        what = f"{len(wanted)} series bear the number asked for ({listing})"
        mend = "Name one in the column 'series' by its SeriesInstanceUID"
    else:
        what, mend = f"the series asked for is not in the folder, which holds {listing}", "Correct 'series'"
    raise UserError(what, folder, mend)


def _by_number(kind: tuple[str, int, str]) -> tuple[int, tuple[str, int, str]]:
    return (int(kind[0]) if kind[0].isdigit() else 1 << 31, kind)


@without_echo()
def _read_slice(path: Path) -> tuple[str, _Slice] | None:
    """Return the series' identity and the slice; None for files that are no DICOM or hold no image plane."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, EOFError):
        return None
    except Exception as error:  # On damage pydicom lets through whatever its value readers raise.
        raise _damaged(path, error) from None
    try:
        return _plane_in(header, path)
    except (NotImplementedError, MemoryError, LookupError, OverflowError, BytesLengthException) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    # Its text may repeat a value of the header.
    return UserError(f"a DICOM header is damaged ({type(error).__name__})", path, "Copy or export the series again")


def _plane_in(header: Any, path: Path) -> tuple[str, _Slice] | None:
    if header.get("Modality") in _NO_IMAGES:
        return None
    if "ImagePositionPatient" not in header:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise UserError("multi-frame DICOM is not read", path, "Convert it to NIfTI, e.g. with dcm2niix")
        return None
    try:
        plane = _Slice(
            path,
            np.asarray(header.ImagePositionPatient, np.float64),
            np.asarray(header.ImageOrientationPatient, np.float64).reshape(2, 3),
            np.asarray(header.PixelSpacing, np.float64)[::-1],
            (int(header.Columns), int(header.Rows)),
            str(header.get("Modality", "of unknown modality")),
            str(header.get("SeriesNumber") or ""),
            str(header.get("FrameOfReferenceUID", "")),
            "RescaleSlope" in header and "RescaleIntercept" in header,
        )
        if not _is_a_plane(plane):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise UserError("a DICOM slice lacks its position, orientation, pixel spacing or size", path) from None
    return str(header.get("SeriesInstanceUID", "")), plane


def _is_a_plane(plane: _Slice) -> bool:
    numbers = (plane.position, plane.axes, plane.pixel_mm)
    shapes = [part.shape for part in numbers] == [(3,), (2, 3), (2,)]
    return shapes and all(np.isfinite(part).all() for part in numbers) and min(*plane.pixel_mm, *plane.size) > 0


def _stack(slices: list[_Slice], folder: Path) -> DicomSeries:
    first = slices[0]
    if len(slices) < 2:
        raise UserError("the series has one slice only", folder)
    alike = all(
        s.size == first.size
        and np.allclose(s.axes, first.axes, atol=1e-3)
        and np.allclose(s.pixel_mm, first.pixel_mm, atol=1e-4)
        for s in slices
    )
    if not alike:
        raise UserError(
            "the slices differ in size, orientation or pixel spacing",
            folder,
            "Take localizers out of the folder",
        )
    axes = first.axes / np.linalg.norm(first.axes, axis=1, keepdims=True)
    normal = np.cross(axes[0], axes[1])
    slices = sorted(slices, key=lambda s: float(s.position @ normal))
    positions = np.array([s.position for s in slices])
    gap = _even_gap(positions @ normal, folder)
    slope = (positions[-1] - positions[0]) / (len(slices) - 1)
    sideways = float(np.linalg.norm(slope - gap * normal)) * (len(slices) - 1)
    if sideways > _ROUNDING_MM * 5:
        raise UserError(
            f"the gantry was tilted: the last slice lies {sideways:.1f} mm aside of the first",
            folder,
            "Resample it to an upright stack first",
        )
    direction = np.stack([axes[0], axes[1], normal], axis=1)
    spacing = (float(first.pixel_mm[0]), float(first.pixel_mm[1]), gap)
    grid = Grid((*first.size, len(slices)), spacing, tuple(positions[0].tolist()), direction)
    return DicomSeries(tuple(s.path for s in slices), grid, first.frame)


def _even_gap(heights: NDArray[np.float64], folder: Path) -> float:
    """Return the gap between slices at sorted `heights` (mm), or tell where it is not even."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    allowed = max(_ROUNDING_MM, _GAP_TOLERANCE * usual)
    worst = int(np.abs(gaps - usual).argmax())
    low, high = heights[worst], heights[worst + 1]
    if (gaps < min(_ROUNDING_MM, usual / 2)).any() or usual <= 0:
        twice = heights[int(gaps.argmin())]
        raise UserError(f"two slices lie at {twice:.1f} mm", folder, "Keep one phase or reconstruction in a folder")
    if abs(gaps[worst] - usual) > allowed:
        missing = round(gaps[worst] / usual) - 1
        fault = f"{missing} slice{'s' * (missing > 1)} missing" if missing > 0 else "slices are not evenly spaced"
        raise UserError(
            f"{fault} between {low:.1f} and {high:.1f} mm along the stack: a gap of {gaps[worst]:.2f} mm"
            f" where others are {usual:.2f} mm",
            folder,
            "Download the series again, or leave it out",
        )
    return float((heights[-1] - heights[0]) / (len(heights) - 1))
