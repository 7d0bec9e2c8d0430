"""Slide decoders, and the choice of the one that fits a file."""

from pathlib import Path

import openslide

from sparra.errors import UserError
from sparra.pathology.decoders.base import COPY_AGAIN, Decoder, Header, Region, reason_of
from sparra.pathology.decoders.by_openslide import OpenSlideDecoder
from sparra.pathology.decoders.by_pydicom import DicomDecoder, require_one_slide
from sparra.pathology.decoders.by_tifffile import TiffDecoder, WrongPixels

__all__ = ["Decoder", "Header", "Region", "open_decoder"]

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Formats that are plain tiled TIFF; the others (overlapping tiles, several files) are left to OpenSlide.
PLAIN_TIFF = ("aperio", "generic-tiff")
PICTURES = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP file",
}
DOWNLOAD_MEND = "Copy it again if it was cut off, or convert it to a pyramidal TIFF"


def open_decoder(path: Path) -> Decoder:
    """Open a slide by the decoder that fits: TIFF directly, DICOM and all else by OpenSlide where it can.

    Parameters
    ----------
    path : Path
        A file, or a folder with the DICOM files of one slide.

    Raises
    ------
    UserError
        If the file cannot be read or no decoder opens it.
    """
    if path.is_dir():
        return _open_dicom_folder(path)
    start = _first_bytes(path)
    try:
        vendor = openslide.OpenSlide.detect_format(path)
        found = OpenSlideDecoder(path) if vendor else None
        refusal = "the format is not known"
    except (openslide.OpenSlideError, OSError) as error:
        vendor, found, refusal = None, None, reason_of(error, path)
    if start[:4] in TIFF_MAGIC and (found is None or vendor in PLAIN_TIFF):
        return _open_tiff(path, found, refusal)
    if found is not None:
        return found
    if start[128:132] == b"DICM":
        return DicomDecoder([path])
    raise _not_a_slide(path, start, refusal)


def _open_tiff(path: Path, found: OpenSlideDecoder | None, refusal: str) -> Decoder:
    """Prefer the direct decoder; fall back to OpenSlide's where it opened what the direct one does not read."""
    try:
        direct = TiffDecoder(path)
    except UserError as error:
        if found is None:
            raise UserError(
                f"OpenSlide cannot open this file as a slide ({refusal}), and {error.what}", where=path, mend=error.mend
            ) from None
        if isinstance(error, WrongPixels) or "cut off" in error.what:
            found.close()
            raise
        return found
    if found is None or direct.header.vendor == "ome-tiff":
        if found is not None:
            found.close()
        return direct
    if direct.has_gaps and found.header.vendor == "aperio":
        direct.close()  # OpenSlide fills a missing tile from the level below.
        return found
    header = Header(
        vendor=found.header.vendor,
        mpp=found.header.mpp or direct.header.mpp,
        objective_power=found.header.objective_power or direct.header.objective_power,
        quickhash=found.header.quickhash,
    )
    found.close()
    direct.header = header
    return direct


def _open_dicom_folder(folder: Path) -> Decoder:
    files = sorted(file for file in folder.iterdir() if file.is_file() and _is_dicom(file))
    if not files:
        what, mend = "this is a folder without DICOM files, not a slide", "Name the slide's file in images.csv"
        raise UserError(what, where=folder, mend=mend)
    require_one_slide(files, folder)
    for file in files:
        try:
            return OpenSlideDecoder(file)  # It finds the other levels by itself.
        except (openslide.OpenSlideError, OSError):
            continue
    return DicomDecoder(files)


def _is_dicom(path: Path) -> bool:
    """Tell whether a file of a folder is DICOM; an empty one is of no concern, unless its name says that it should."""
    if path.stat().st_size == 0 and path.suffix.lower() not in (".dcm", ".dicom"):
        return False
    return _first_bytes(path)[128:132] == b"DICM"


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except FileNotFoundError:
        raise UserError("the slide does not exist", where=path, mend="Correct the path in images.csv") from None
    except PermissionError:
        mend = "Give the account that runs sparra leave to read it"
        raise UserError("the slide may not be read (permission denied)", where=path, mend=mend) from None
    except OSError as error:
        raise UserError(f"the slide cannot be read ({reason_of(error, path)})", path, COPY_AGAIN) from None
    if not start:
        raise UserError("the file is empty (0 bytes)", where=path, mend=COPY_AGAIN)
    return start


def _not_a_slide(path: Path, start: bytes, refusal: str) -> UserError:
    kind = next((name for magic, name in PICTURES.items() if start.startswith(magic)), None)
    reason = f"it is {kind}" if kind else refusal
    return UserError(f"OpenSlide cannot open this file as a slide ({reason})", where=path, mend=DOWNLOAD_MEND)
