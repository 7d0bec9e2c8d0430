"""A mask in whatever form, as voxels on its CT's grid."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from pathlib import Path
from typing import Any, Literal

import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from sparra.errors import UserError
from sparra.radiology.dicom import without_echo
from sparra.radiology.errors import GeometryMismatchError
from sparra.radiology.geometry import Grid
from sparra.radiology.masks.label_map import read_label_map, states_its_place
from sparra.radiology.masks.labels import Labels, require_foreground
from sparra.radiology.masks.placement import place_mask, require_aligned
from sparra.radiology.masks.segmentation_object import read_segments, require_segments
from sparra.radiology.masks.structure_set import read_contours, require_regions
from sparra.radiology.volume import image_on, is_volume_file, read_grid

MaskKind = Literal["label map", "DICOM-SEG", "RTSTRUCT"]
_KINDS: dict[str, MaskKind] = {"SEG": "DICOM-SEG", "RTSTRUCT": "RTSTRUCT"}


@without_echo()
def mask_kind(path: Path) -> MaskKind:
    """Return the form of a mask.

    Raises
    ------
    UserError
        If it is absent or in no form read here.
    """
    return "label map" if is_volume_file(path) else _find_object(path)[0]


@without_echo()
def read_mask(
    path: Path,
    ct: sitk.Image,
    label: Labels,
    spacing_known: bool = False,
    *,
    resample: bool = False,
    frame: str = "",
) -> sitk.Image:
    """Read a mask as uint8, 1 where it holds `label` (or one of several), on exactly the CT's grid.

    Parameters
    ----------
    path : Path
        A label map in NIfTI or NRRD, a DICOM-SEG, an RTSTRUCT, or a folder with one of the latter two.
    ct : SimpleITK.Image
    label : int, str or sequence of them
        Label values of a label map (names of a ``.seg.nrrd``'s segments); numbers or labels of segments; names
        of regions of interest.
    spacing_known : bool
        Whether the caller knows the spacing; else a header without one is an error.
    resample : bool
        Whether a mask on another grid is put onto the CT's as its header says, by nearest neighbour.
    frame : str
        UID of the CT's frame of reference, if known.

    Raises
    ------
    GeometryMismatchError
        If the mask is on another grid (and `resample` is False) or in another frame of reference.
    OutsideImageError
        If part of it lies outside the CT.
    EmptyMaskError, LabelAbsentError
        If there is nothing to find.
    UserError
        If the file is absent, unreadable or cut short.
    """
    grid = Grid.of(ct)
    if is_volume_file(path):
        chosen, own = read_label_map(path, label, spacing_known)
        part = states_its_place(path)
    else:
        kind, file, header = _find_object(path)
        _require_frame(header, frame, file)
        part = True  # each frame and each contour has its own position
        reads_segments = kind == "DICOM-SEG"
        chosen, own = read_segments(file, label) if reads_segments else read_contours(header, label, grid, file)
    return image_on(grid, place_mask(chosen, own, grid, path, part=part, resample=resample))


@without_echo()
def check_mask(
    path: Path,
    ct: Grid,
    label: Labels | None,
    spacing_known: bool = False,
    *,
    resample: bool = False,
    frame: str = "",
) -> None:
    """Check what the header of a mask tells: form, geometry, and for DICOM whether the label is there.

    Raises
    ------
    UserError
        With the first thing found wrong.
    """
    if label is not None:
        require_foreground(label)
    if is_volume_file(path):
        own = read_grid(path, spacing_known)
        if not resample:
            require_aligned(own, ct, path, part=states_its_place(path))
        return
    kind, file, header = _find_object(path)
    if spacing_known:
        raise UserError(f"spacing_mm replaces the CT's header, but a mask in {kind} is placed by true positions", path)
    _require_frame(header, frame, file)
    if label is not None:
        (require_segments if kind == "DICOM-SEG" else require_regions)(header, label, file)


def _find_object(path: Path) -> tuple[MaskKind, Path, Any]:
    """Find the segmentation or structure set in a file or a folder; return its form, file and header."""
    if not path.exists():
        raise UserError("no such file or folder", path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    found = [one for one in map(_object_at, files) if one is not None]
    if len(found) == 1:
        return found[0]
    what = f"the folder holds {len(found)} masks in DICOM-SEG or RTSTRUCT" if path.is_dir() else "this is no mask"
    raise UserError(what, path, "Name one .nii, .nii.gz, .nrrd, DICOM-SEG or RTSTRUCT file")


def _object_at(file: Path) -> tuple[MaskKind, Path, Any] | None:
    try:
        modality = str(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality", ""))
        if modality not in _KINDS:
            return None
        return _KINDS[modality], file, pydicom.dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, EOFError):
        return None
    except Exception as error:  # On damage pydicom lets through whatever its value readers raise, values in its text.
        raise UserError(f"a DICOM file is damaged ({type(error).__name__})", file, "Copy or export it again") from None


def _require_frame(header: Any, frame: str, path: Path) -> None:
    """Refuse a mask drawn in another frame of reference: its coordinates mean other places."""
    own = {str(header.get("FrameOfReferenceUID", ""))}
    own |= {str(i.get("FrameOfReferenceUID", "")) for i in header.get("ReferencedFrameOfReferenceSequence", [])}
    own |= {str(i.get("ReferencedFrameOfReferenceUID", "")) for i in header.get("StructureSetROISequence", [])}
    own -= {""}
    if frame and own and frame not in own:
        raise GeometryMismatchError(
            "the mask was drawn in another frame of reference than its CT's", path, "Pair it with its own CT"
        )
