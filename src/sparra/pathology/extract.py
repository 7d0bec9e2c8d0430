"""From one slide file to its bag of tile features and its preview."""

from dataclasses import asdict
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
from sparra.pathology.encoders import slide_encoders
from sparra.pathology.encoders.base import SlideSummary
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tiles import TileGrid, place_tiles, read_tiles
from sparra.pathology.tissue import Tissue, find_tissue


def extract_slide(path: Path, mpp: float | None, settings: SlideSettings) -> tuple[Bag, Preview]:
    """Find the tissue of a slide, cut it into tiles and encode them.

    Parameters
    ----------
    path : Path
        The slide.
    mpp : float or None
        µm per pixel of level 0 where it is supplied; None to trust the file.
    settings : SlideSettings

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
        If the slide is unreadable, has no known resolution or no tissue, or the encoder is unknown.
    """
    entry = slide_encoders[settings.encoder]
    entry.require(settings)
    with Slide(path, mpp) as slide:
        picture = slide.overview(settings.tissue_mpp)
        tissue = find_tissue(picture, settings.tissue_mpp, settings)
        grid = place_tiles(tissue, slide.size_um, settings)
        _require_tiles(tissue, grid, settings, path)
        encoder = entry.build(settings)
        tile_mpp = settings.tile_um / settings.tile_px
        features = np.concatenate([encoder.encode(tiles, tile_mpp) for tiles in read_tiles(slide, grid, settings)])
        preview = _preview(slide, picture, tissue, settings)
        provenance = _provenance(entry.card, slide, tissue, grid, settings) | {"weights": weights_of(encoder)}
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


def _require_tiles(tissue: Tissue, grid: TileGrid, settings: SlideSettings, path: Path) -> None:
    if not tissue.mask.any():
        raise UserError(
            f"the slide holds no stained tissue of at least {settings.smallest_tissue_um2:g} µm²",
            where=path,
            mend="Look at it; if it is not blank, lower 'smallest_tissue_um2'",
        )
    if len(grid) == 0:
        raise UserError(
            f"no tile of {settings.tile_um:g} µm holds {settings.minimum_tissue:.0%} tissue, "
            f"of which the slide has {tissue.area_mm2:.3g} mm²",
            where=path,
            mend="Lower 'minimum_tissue' or 'tile_um'",
        )


def _preview(slide: Slide, picture: NDArray[np.uint8], tissue: Tissue, settings: SlideSettings) -> Preview:
    """Return a thumbnail with square pixels, at most `thumbnail_px` long and never finer than the slide."""
    mpp = max(*slide.size_um) / settings.thumbnail_px
    mpp = max(mpp, slide.resolution.x, slide.resolution.y)
    if mpp < tissue.mpp:
        pixels = slide.overview(mpp)
    else:
        # A large slide is not read a second time.
        height, width = (max(1, int(side * tissue.mpp / mpp)) for side in picture.shape[:2])
        box = (0.0, 0.0, width * mpp / tissue.mpp, height * mpp / tissue.mpp)
        reduced = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box=box)
        pixels = np.asarray(reduced)
    rows, columns = (
        np.minimum(((np.arange(pixels.shape[axis]) + 0.5) * mpp / tissue.mpp).astype(np.int64), limit - 1)
        for axis, limit in enumerate(tissue.mask.shape)
    )
    return Preview(
        modality="slide",
        pixels=pixels,
        mask=tissue.mask[np.ix_(rows, columns)],
        spacing=(mpp, mpp),
        origin=(mpp / 2, mpp / 2),
        direction=np.eye(2),
    )


def _provenance(
    card: EncoderCard, slide: Slide, tissue: Tissue, grid: TileGrid, settings: SlideSettings
) -> dict[str, Any]:
    return {
        "encoder": asdict(card),
        "settings": settings.model_dump(mode="json"),
        "slide": slide.describe(),
        "tissue": {"area_mm2": tissue.area_mm2, "threshold": tissue.threshold, "mpp": tissue.mpp},
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
