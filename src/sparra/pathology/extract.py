"""From one slide file to its bag of tile features and its preview."""

import math
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.encoders import EncoderCard, weights_of
from sparra.errors import UserError
from sparra.memory import give_back_memory
from sparra.pathology.annotation import annotation_in, read_annotation
from sparra.pathology.artefacts import blurred_mask
from sparra.pathology.encoders import slide_encoders
from sparra.pathology.encoders.base import SlideSummary
from sparra.pathology.geojson import write_geojson
from sparra.pathology.outline import mask_of
from sparra.pathology.picture import draw_tissue
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tiles import TileGrid, place_tiles, read_tiles
from sparra.pathology.tissue import Tissue, find_stain, outline_tissue

LANCZOS_RADIUS, THUMBNAIL_ROWS = 3, 64
# Scans called 20x have 0.4 to 0.6 µm a pixel; what lies further apart is another magnification.
LARGEST_ENLARGEMENT = math.sqrt(2)


def extract_slide(
    path: Path,
    mpp: float | None,
    settings: SlideSettings,
    annotation: Path | None = None,
    label: tuple[int, ...] | None = None,
    record: Path | None = None,
) -> tuple[Bag, Preview]:
    """Find the tissue of a slide, cut it into tiles and encode them.

    Parameters
    ----------
    path : Path
        The slide.
    mpp : float or None
        µm per pixel of level 0 where it is supplied; None to trust the file.
    settings : SlideSettings
    annotation : Path, optional
        Outline or mask that replaces the tissue found; else one of ``settings.tissue_folder`` does.
    label : tuple of int, optional
        Values of an annotation mask that are tissue; default: all but 0.
    record : Path, optional
        Name without suffix under which the outline (``.geojson``) and the picture (``.png``) are written.

    Returns
    -------
    bag : Bag
        Positions are the tiles' centres (x, y) in µm from the top-left corner of level 0;
        ``tissue_fraction`` is among the extras.
    preview : Preview
        Thumbnail of the slide with its tissue mask.

    Raises
    ------
    UserError
        If the slide or its annotation is unreadable, the slide has no known resolution or no tissue, or the
        encoder is unknown.
    """
    entry = slide_encoders[settings.encoder]
    entry.require(settings)
    encoder = entry.build(settings)
    with Slide(path, mpp, settings.mpp_policy) as slide:
        replaced_by = annotation or annotation_in(settings.tissue_folder, path)
        tissue, thumbnail, thumbnail_mpp = _tissue(slide, settings, replaced_by, label)
        # What is held is of the levels that the tissue was found on.
        slide.forget()
        give_back_memory()
        preview = _preview(thumbnail, thumbnail_mpp, tissue)
        grid = place_tiles(tissue, slide.size_um, settings)
        if record is not None:  # before the check, so that a slide without tiles can be looked at too
            _write_record(record, slide, preview, tissue, grid)
        _require_tiles(tissue, grid, settings, path)
        tile_mpp = settings.tile_um / settings.tile_px
        features = np.concatenate([encoder.encode(tiles, tile_mpp) for tiles in read_tiles(slide, grid, settings)])
        provenance = _provenance(entry.card, slide, tissue, grid, settings) | {"weights": weights_of(encoder)}
        provenance["notes"] = slide_notes(slide.level_mpp(tile_mpp), settings)
    positions, tissue_fraction = grid.centres_um, grid.tissue_fraction
    if isinstance(encoder, SlideSummary):
        # One row for the whole slide, in the middle of its tiles.
        features = encoder.summarise(features)
        positions, tissue_fraction = positions.mean(axis=0)[None], tissue_fraction.mean()[None]
    bag = Bag(
        modality="slide",
        features=features,
        positions=positions,
        patch_size=(settings.tile_um, settings.tile_um),
        feature_names=encoder.feature_names,
        extras={"tissue_fraction": tissue_fraction},
        provenance=provenance,
    )
    return bag, preview


def _tissue(
    slide: Slide, settings: SlideSettings, annotation: Path | None, label: tuple[int, ...] | None
) -> tuple[Tissue, NDArray[np.uint8], float]:
    """Return the tissue, and a thumbnail of the slide with its µm per pixel."""
    picture = slide.overview(settings.tissue_mpp)
    pixels, mpp = _thumbnail(slide, picture, settings)
    if annotation is not None:
        del picture
        return Tissue(read_annotation(annotation, slide, label), settings.tissue_mpp), pixels, mpp
    stain = find_stain(picture, settings.tissue_mpp, settings)
    # Of a large slide it is the largest thing held, and the masks are worked on next.
    del picture
    find_blur = None
    if settings.largest_blur_um is not None:
        find_blur = partial(blurred_mask, slide, largest_blur_um=settings.largest_blur_um)
    return outline_tissue(stain, settings, (slide.resolution.x, slide.resolution.y), find_blur), pixels, mpp


def _thumbnail(slide: Slide, picture: NDArray[np.uint8], settings: SlideSettings) -> tuple[NDArray[np.uint8], float]:
    """Return square pixels, at most `thumbnail_px` along the longer side and never finer than the slide."""
    mpp = max(*slide.size_um) / settings.thumbnail_px
    mpp = max(mpp, slide.resolution.x, slide.resolution.y)
    if mpp < settings.tissue_mpp:
        return slide.overview(mpp), mpp
    return _reduced(picture, mpp / settings.tissue_mpp), mpp  # A large slide is not read a second time.


def _reduced(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Reduce a picture by a Lanczos filter, strip by strip, as Pillow takes a copy of four bytes a pixel."""
    height, width = (max(1, int(side / factor)) for side in picture.shape[:2])
    reduced = np.empty((height, width, 3), dtype=np.uint8)
    reach = math.ceil(LANCZOS_RADIUS * factor) + 1
    for top in range(0, height, THUMBNAIL_ROWS):
        bottom = min(top + THUMBNAIL_ROWS, height)
        first, last = max(0, math.floor(top * factor) - reach), math.ceil(bottom * factor) + reach
        part = Image.fromarray(picture[first:last])
        box = (0.0, top * factor - first, width * factor, bottom * factor - first)
        reduced[top:bottom] = np.asarray(part.resize((width, bottom - top), Image.Resampling.LANCZOS, box=box))
    return reduced


def _preview(pixels: NDArray[np.uint8], mpp: float, tissue: Tissue) -> Preview:
    return Preview(
        modality="slide",
        pixels=pixels,
        mask=mask_of(tissue.outline, (pixels.shape[0], pixels.shape[1]), mpp),
        spacing=(mpp, mpp),
        origin=(mpp / 2, mpp / 2),
        direction=np.eye(2),
    )


def _write_record(record: Path, slide: Slide, preview: Preview, tissue: Tissue, grid: TileGrid) -> None:
    mpp = (slide.resolution.x, slide.resolution.y)
    write_geojson(record.with_name(f"{record.name}.geojson"), tissue.classes(), mpp)
    draw_tissue(record.with_name(f"{record.name}.png"), preview, tissue, grid)


def _require_tiles(tissue: Tissue, grid: TileGrid, settings: SlideSettings, path: Path) -> None:
    if tissue.outline.is_empty:
        gone = {name.rstrip("*").lower(): part.area / 1e6 for name, part in tissue.left_out.items()}
        left_out = "".join(f"; {area:.3g} mm² were left out as {name}" for name, area in gone.items())
        raise UserError(
            f"the slide holds no stained tissue of at least {settings.smallest_tissue_um2:g} µm²{left_out}",
            where=path,
            mend="Look at it; if it is not blank, lower 'smallest_tissue_um2'"
            + (", or set 'leave_out_ink' to false or 'largest_blur_um' to null" if gone else ""),
        )
    if len(grid) == 0:
        raise UserError(
            f"no tile of {settings.tile_um:g} µm holds {settings.minimum_tissue:.0%} tissue, "
            f"of which the slide has {tissue.area_mm2:.3g} mm²",
            where=path,
            mend="Lower 'minimum_tissue' or 'tile_um'",
        )


def slide_notes(level_mpp: float, settings: SlideSettings) -> list[str]:
    """Return what users must hear of a slide read at `level_mpp`: that tiles show no more than a coarser scan holds."""
    tile_mpp = settings.tile_um / settings.tile_px
    if level_mpp <= LARGEST_ENLARGEMENT * tile_mpp:
        return []
    return [f"scanned at {level_mpp:.3g} µm a pixel, so tiles of {tile_mpp:.3g} µm are enlarged and show no more"]


def _provenance(
    card: EncoderCard, slide: Slide, tissue: Tissue, grid: TileGrid, settings: SlideSettings
) -> dict[str, Any]:
    return {
        "encoder": asdict(card),
        "settings": settings.model_dump(mode="json"),
        "slide": slide.describe(),
        "tissue": {**tissue.summary(), "source": "found" if tissue.threshold is not None else "annotation"},
        "grid": {
            "tile_um": settings.tile_um,
            "tile_px": settings.tile_px,
            "level_mpp": slide.level_mpp(settings.tile_um / settings.tile_px),
            "step_um": settings.step_um,
            "rows": grid.shape[0],
            "columns": grid.shape[1],
        },
        "versions": {
            "sparra": version("sparra"),
            "openslide": openslide.__library_version__,
            "openslide-python": openslide.__version__,
        },
    }
