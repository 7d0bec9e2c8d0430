"""Tissue that someone else has outlined: GeoJSON from QuPath, or a mask as a picture."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import MultiPolygon

from sparra.errors import UserError
from sparra.pathology.geojson import annotated_tissue, read_geojson
from sparra.pathology.outline import outline_of, snapped
from sparra.pathology.slide import Slide

GEOJSON = (".geojson", ".json")
PICTURES = (".png", ".tif", ".tiff", ".bmp")
LARGEST_MASK_PX = 400_000_000
LARGEST_MISFIT = 0.02


def annotation_in(folder: Path | None, slide: Path) -> Path | None:
    """Return the annotation of a slide in a folder, named like the slide's file; None where there is none."""
    if folder is None:
        return None
    names = (slide.name, slide.stem, slide.stem.removesuffix(".ome"))
    candidates = (folder / f"{name}{suffix}" for name in dict.fromkeys(names) for suffix in (*GEOJSON, *PICTURES))
    return next((path for path in candidates if path.is_file()), None)


def check_folder(folder: Path | None, slides: Iterable[Path]) -> None:
    """Check that a folder of annotations exists and, if it holds any, that one of them is of one of the slides.

    Raises
    ------
    UserError
        If all slides would be segmented as if there were no such folder.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise UserError("the folder of outlines does not exist", folder, "Correct 'slide.tissue_folder' in study.yaml")
    slides = list(slides)
    held = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (*GEOJSON, *PICTURES))
    if held and slides and not any(annotation_in(folder, slide) for slide in slides):
        what = f"no outline in the folder is named like a slide: '{held[0]}' is there, '{slides[0].name}' a slide"
        raise UserError(what, folder, f"Name it '{slides[0].stem}.geojson'")


def check_annotation(path: Path) -> None:
    """Check that a file is of a kind that can replace the tissue.

    Raises
    ------
    UserError
        If it is absent or of another kind.
    """
    if not path.is_file():
        raise UserError("the annotation does not exist", where=path, mend="Correct its path in images.csv")
    if path.suffix.lower() not in (*GEOJSON, *PICTURES):
        mend = f"Give GeoJSON in pixels of level 0, or a mask as {', '.join(PICTURES)} (JPEG smears its edges)"
        raise UserError(f"a '{path.suffix}' file cannot be read as an annotation of tissue", where=path, mend=mend)


def check_outline(path: Path) -> None:
    """Check that an annotation is of the right kind and, where it is GeoJSON, holds areas; not yet whether it fits.

    Raises
    ------
    UserError
        As `check_annotation`, or if GeoJSON cannot be read or holds no area of tissue.
    """
    check_annotation(path)
    if path.suffix.lower() in GEOJSON:
        annotated_tissue(path)


def read_annotation(path: Path, slide: Slide, label: tuple[int, ...] | None = None) -> MultiPolygon:
    """Read the tissue that is outlined for a slide.

    Parameters
    ----------
    path : Path
        GeoJSON in pixels of level 0, or a mask of the whole slide at any magnification.
    slide : Slide
    label : tuple of int, optional
        Values of the mask that are tissue; default: all but 0.

    Returns
    -------
    MultiPolygon
        In µm.

    Raises
    ------
    UserError
        If it cannot be read, is empty, or does not fit the slide.
    """
    check_annotation(path)
    mpp = (slide.resolution.x, slide.resolution.y)
    if path.suffix.lower() in GEOJSON:
        return snapped(read_geojson(path, mpp, slide.dimensions), mpp)
    mask = _read_mask(path, label)
    scale = (slide.dimensions[0] / mask.shape[1], slide.dimensions[1] / mask.shape[0])
    # A side of n pixels is known to one in n.
    if abs(scale[0] / scale[1] - 1) > LARGEST_MISFIT + 1 / min(mask.shape):
        what = f"the mask of {mask.shape[1]} × {mask.shape[0]} pixels has not the shape of its slide"
        raise UserError(what, where=path, mend="Give a mask of the whole slide, at any magnification")
    if not mask.any():
        raise UserError("the mask of the tissue is empty", where=path, mend="Check its values, or the column 'label'")
    return snapped(outline_of(mask, (scale[0] * mpp[0], scale[1] * mpp[1])), mpp)


def _read_mask(path: Path, label: tuple[int, ...] | None) -> NDArray[np.bool_]:
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(path) as file:
                page: Any = file.pages[0]
                _require_size(page.imagewidth * page.imagelength, path)
                values = page.asarray()
        else:
            with Image.open(path) as picture:
                _require_size(picture.width * picture.height, path)
                values = np.asarray(picture)
    except UserError:
        raise
    except Exception as error:  # codecs raise whatever the bytes lead to
        raise UserError(f"the mask cannot be read ({error})", where=path, mend="Save it again as PNG") from None
    if values.ndim == 3 and label is None:
        colours = 1 if values.shape[2] < 3 else 3  # What follows grey or colours is how opaque they are.
        values = values[..., :colours].max(axis=2)
    if values.ndim != 2:
        raise UserError("the mask is a colour picture", where=path, mend="Save it with one channel")
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)  # What is no number is no tissue.
    mask: NDArray[np.bool_] = values != 0 if label is None else np.isin(values, label)
    return mask


def _require_size(pixels: int, path: Path) -> None:
    if pixels > LARGEST_MASK_PX:
        raise UserError(f"the mask has {pixels / 1e6:.0f} million pixels", path, "Save it at a lower magnification")
