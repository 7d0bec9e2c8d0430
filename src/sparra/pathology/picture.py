"""Pictures to check the tissue at a glance: one a slide, and contact sheets of a cohort."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapely.geometry import MultiPolygon

from sparra.bags.preview import Preview
from sparra.files import PNG_COMPRESSION, atomic_path
from sparra.pathology.geojson import COLOURS
from sparra.pathology.tiles import TileGrid
from sparra.pathology.tissue import Tissue

TILE_TINT, TILE_WEIGHT = (90, 160, 255), 0.25
LINE_PX = 2
SHEET_COLUMNS, SHEET_ROWS, CELL_PX, CAPTION_PX = 5, 6, 320, 30


def draw_tissue(path: Path, preview: Preview, tissue: Tissue, grid: TileGrid) -> None:
    """Draw the slide with its tissue outlined, what was left out, and the tiles kept.

    Parameters
    ----------
    path : Path
        PNG to write.
    preview : Preview
        Thumbnail of the slide.
    tissue : Tissue
        Outlined in green; ink in magenta and blur in orange.
    grid : TileGrid
        Tinted in blue.
    """
    pixels = preview.pixels.copy()
    mpp = preview.spacing[0]
    covered = _tiles_mask(grid, pixels.shape[:2], mpp)
    levels = np.arange(256)
    for channel, tint in zip(np.moveaxis(pixels, -1, 0), TILE_TINT, strict=True):
        channel[covered] = (levels + TILE_WEIGHT * (tint - levels)).astype(np.uint8)[channel[covered]]
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for name, outline in tissue.classes().items():
        _draw_outline(draw, outline, mpp, COLOURS[name])
    with atomic_path(path) as temporary:
        picture.save(temporary, compress_level=PNG_COMPRESSION)


def _tiles_mask(grid: TileGrid, shape: tuple[int, ...], mpp: float) -> NDArray[np.bool_]:
    covered = np.zeros(shape, dtype=bool)
    for left, top in np.rint(grid.corners_um / mpp).astype(int).tolist():
        side = max(1, round(grid.tile_um / mpp))
        covered[top : top + side, left : left + side] = True
    return covered


def _draw_outline(draw: ImageDraw.ImageDraw, outline: MultiPolygon, mpp: float, colour: tuple[int, int, int]) -> None:
    for polygon in outline.geoms:
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.asarray(ring.coords)[:, :2] / mpp
            draw.line([(float(x), float(y)) for x, y in points], fill=colour, width=LINE_PX)


def contact_sheets(folder: Path, pictures: Sequence[tuple[str, Path]]) -> dict[Path, Sequence[tuple[str, Path]]]:
    """Divide all slides' pictures among sheets, thirty a sheet, and remove further sheets of an earlier run.

    Parameters
    ----------
    folder : Path
        Where ``contact-sheet-1.png`` and so on go.
    pictures : sequence of (str, Path)
        Caption and picture.

    Returns
    -------
    mapping of Path to sequence of (str, Path)
        What each sheet shows.
    """
    per_sheet = SHEET_COLUMNS * SHEET_ROWS
    parts = [pictures[first : first + per_sheet] for first in range(0, len(pictures), per_sheet)]
    sheets = {folder / f"contact-sheet-{number}.png": part for number, part in enumerate(parts, start=1)}
    for old in set(folder.glob("contact-sheet-*.png")) - set(sheets):
        old.unlink()
    return sheets


def write_contact_sheet(path: Path, pictures: Sequence[tuple[str, Path]]) -> None:
    """Write slides' pictures side by side, each under its caption."""
    with atomic_path(path) as temporary:
        _sheet(pictures).save(temporary, compress_level=PNG_COMPRESSION)


def _sheet(pictures: Sequence[tuple[str, Path]]) -> Image.Image:
    rows = -(-len(pictures) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * CELL_PX, rows * (CELL_PX + CAPTION_PX)), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for place, (caption, path) in enumerate(pictures):
        row, column = divmod(place, SHEET_COLUMNS)
        left, top = column * CELL_PX, row * (CELL_PX + CAPTION_PX)
        draw.text((left + 4, top + 4), caption, fill=(0, 0, 0), font=font)
        with Image.open(path) as picture:
            picture.thumbnail((CELL_PX - 8, CELL_PX - 8))
            sheet.paste(picture, (left + 4, top + CAPTION_PX))
    return sheet
