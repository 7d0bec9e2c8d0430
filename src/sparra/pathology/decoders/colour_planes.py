"""OME-TIFF whose red, green and blue are three pictures of one channel each, as raw2ometiff writes it without --rgb."""

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

# Names of the three, or none that says what a channel is.
NAMES = (r"r|red", r"g|green", r"b|blue")
NAMELESS = r"(channel|ch|c)?[\s:_#-]*\d*(:\d+)*"
# Of each colour: what lies between tissue is white, that of fluorescence black.
LEAST_MEDIAN = 100
PIECES_LOOKED_AT = 16
PIXELS_OF_A_PIECE = 1 << 20


def may_be_colours(series: Any, xml: str | None) -> bool:
    """Tell whether a series is three channels of 8 bit, all in this file, that may be the colours of one picture.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
    xml : str or None
        The file's OME-XML, whose names of channels may say otherwise.
    """
    page = series.keyframe
    if dict(zip(series.axes, series.shape, strict=True)).get("C") != 3 or page.dtype != np.uint8:
        return False
    for level in series.levels:
        # OME-XML may tell of a channel in another file, where the same offset is another channel's.
        held = [plane for plane in level.pages if plane is not None and plane.parent is page.parent]
        if len(held) != 3 or len(level.pages) != 3:
            return False
    return page.samplesperpixel == 1 and _named_as_colours(xml, page)


def are_bright(level: Any) -> bool:
    """Tell whether each channel of a level is bright as in bright field; its pieces must be of a size to decode."""
    return all(_median(level.keyframe, plane) >= LEAST_MEDIAN for plane in level.pages)


def _named_as_colours(xml: str | None, page: Any) -> bool:
    """Tell whether the picture's channels are called by colours, or nothing that says what they are."""
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return True
    size = (str(page.imagewidth), str(page.imagelength))
    pixels = [item for item in root.iterfind(".//{*}Pixels") if (item.get("SizeX"), item.get("SizeY")) == size]
    channels = pixels[0].findall("{*}Channel") if pixels else []
    names = [(channel.get("Name") or "").strip() for channel in channels]
    return all(
        re.fullmatch(f"{colour}|{NAMELESS}", name, re.IGNORECASE) for name, colour in zip(names, NAMES, strict=False)
    )


def _median(page: Any, plane: Any) -> float:
    """Return the median grey level of some pieces of a plane, 0 where it holds none."""
    stored = np.flatnonzero(plane.databytecounts)
    looked_at = stored[np.linspace(0, len(stored) - 1, PIECES_LOOKED_AT).astype(int)] if len(stored) else []
    file, levels = page.parent.filehandle, []
    for index in np.unique(looked_at):
        file.seek(plane.dataoffsets[index])
        content = file.read(plane.databytecounts[index])  # first: `page.decode` may move the file's position
        grey = page.decode(content, int(index), jpegtables=plane.jpegtables)[0].ravel()
        levels.append(grey[:: 1 + grey.size // PIXELS_OF_A_PIECE].copy())
    return float(np.median(np.concatenate(levels))) if levels else 0.0
