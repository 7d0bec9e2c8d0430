"""What decodes slides and CTs, tried on a small picture."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sparra.doctor.finding import Finding, tried

AREA = "codecs"
MEND = "pip install --force-reinstall 'imagecodecs>=2024.9.22'"
LOSSLESS = 0
# Largest mean difference in grey levels that a lossy codec may leave on a smooth picture.
LOSSY = 4
IMAGE_IOS = {"NiftiImageIO": "NIfTI", "NrrdImageIO": "NRRD", "GDCMImageIO": "DICOM"}


def look_at_codecs() -> Iterator[Finding]:
    """Try each codec that slides are packed with, OpenSlide, and the readers of CTs."""
    import imagecodecs

    for name, encode, decode, most in (
        ("JPEG", "jpeg8_encode", "jpeg8_decode", LOSSY),
        ("JPEG 2000", "jpeg2k_encode", "jpeg2k_decode", LOSSY),
        ("LZW", "lzw_encode", "lzw_decode", LOSSLESS),
        ("deflate", "zlib_encode", "zlib_decode", LOSSLESS),
        ("PNG", "png_encode", "png_decode", LOSSLESS),
    ):
        yield tried(AREA, name, _round_trip(imagecodecs, encode, decode, most), MEND)
    yield tried(AREA, "OpenSlide", _openslide, "pip install --force-reinstall openslide-bin")
    yield tried(AREA, "CT readers", _image_ios, "pip install --force-reinstall simpleitk")
    yield tried(AREA, "DICOM syntaxes", _transfer_syntaxes, "pip install pillow pyjpegls", "warning")


def _round_trip(codecs: object, encode: str, decode: str, most: int) -> Callable[[], str]:
    def look() -> str:
        picture = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)[..., None].repeat(3, axis=2)
        content = picture.tobytes() if encode.startswith(("lzw", "zlib")) else picture
        back = getattr(codecs, decode)(getattr(codecs, encode)(content))
        values = np.frombuffer(back, np.uint8).reshape(picture.shape) if isinstance(back, bytes | bytearray) else back
        difference = float(np.abs(values.astype(int) - picture.astype(int)).mean())
        if difference > most:
            raise ValueError(f"a picture comes back {difference:.1f} grey levels off")
        return "packs and unpacks a picture"

    return look


def _openslide() -> str:
    import openslide

    library = str(openslide.__library_version__)
    if int(library.partition(".")[0]) < 4:
        raise ValueError(f"version {library}, which reads no DICOM slides")
    return f"version {library}"


def _image_ios() -> str:
    import SimpleITK as sitk

    reader: Any = sitk
    there = set(reader.ImageFileReader().GetRegisteredImageIOs())
    absent = [name for io, name in IMAGE_IOS.items() if io not in there]
    if absent:
        raise ValueError(f"SimpleITK has no reader of {', '.join(absent)}")
    return ", ".join(IMAGE_IOS.values())


def _transfer_syntaxes() -> str:
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder

    wanted = (uid.RLELossless, uid.JPEGBaseline8Bit, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEG2000)
    absent = [syntax.name for syntax in wanted if not get_decoder(syntax).is_available]
    if absent:
        raise ValueError(f"pydicom cannot unpack {', '.join(absent)}")
    return "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000"
