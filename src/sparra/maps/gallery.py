"""The most and the least important tiles and CT patches, side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sparra.bags.preview import Preview
from sparra.files import PNG_COMPRESSION, atomic_path
from sparra.maps.label import MapLabel
from sparra.maps.scores import ImageScores
from sparra.pathology.slide import Slide

CELL_PX, GAP_PX, LINE_PX, HEADING_PX = 192, 8, 20, 26
CT_WINDOW_HU = (-160.0, 240.0)
_COLUMNS = 8


def extremes(scores: ImageScores, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the patches of highest and of lowest score, at most one a node, the more extreme first.

    Patches of a node share its score; the one nearest to their middle stands for them. The two ends have no patch in
    common.
    """
    nodes = np.unique(scores.node_of_patch)
    stands = np.array([_middle(scores, np.flatnonzero(scores.node_of_patch == node)) for node in nodes])
    order = stands[np.argsort(-scores.score[stands], kind="stable")]
    count = min(count, len(order) // 2) or 1
    return order[:count], order[::-1][: min(count, len(order) - count)]


def _middle(scores: ImageScores, patches: NDArray[np.int64]) -> int:
    positions = scores.positions[patches]
    return int(patches[np.linalg.norm(positions - positions.mean(axis=0), axis=1).argmin()])


def slide_tiles(slide: Slide, scores: ImageScores, patches: NDArray[np.int64]) -> list[Image.Image]:
    """Read tiles from the slide."""
    side = scores.patch_size[0]
    corners = scores.positions[patches] - np.asarray(scores.patch_size) / 2
    return [Image.fromarray(slide.read_um(float(x), float(y), side, CELL_PX)) for x, y in corners]


def ct_patches(preview: Preview, scores: ImageScores, patches: NDArray[np.int64]) -> list[Image.Image]:
    """Cut the middle slice of each patch, with half a patch around it, out of the preview; the patch is framed."""
    size = np.asarray(scores.patch_size) / np.asarray(preview.spacing)
    low_hu, high_hu = CT_WINDOW_HU
    depth = len(preview.pixels)
    pictures = []
    for centre in preview.to_pixels(scores.positions[patches]):
        plane = preview.pixels[int(np.clip(round(float(centre[2])), 0, depth - 1))].astype(np.float64)
        grey = Image.fromarray(np.uint8(np.clip((plane - low_hu) / (high_hu - low_hu), 0, 1) * 255))
        left, top = centre[:2] + 0.5 - size[:2]
        box = (left, top, left + 2 * size[0], top + 2 * size[1])
        # Beyond the preview there is nothing to show: black.
        cut = grey.transform((CELL_PX, CELL_PX), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
        picture = cut.convert("RGB")
        quarter = CELL_PX / 4
        ImageDraw.Draw(picture).rectangle([quarter, quarter, 3 * quarter, 3 * quarter], outline=(255, 255, 255))
        pictures.append(picture)
    return pictures


def write_gallery(
    path: Path,
    scores: ImageScores,
    ends: Sequence[NDArray[np.int64]],
    pictures: Sequence[Sequence[Image.Image]],
    label: MapLabel,
) -> None:
    """Write a contact sheet: the most important patches above, the least important below, each with its score.

    Parameters
    ----------
    path : Path
    scores : ImageScores
    ends : sequence of two ndarrays
        As `extremes` gives them.
    pictures : sequence of two sequences of Image
        Of these patches.
    label : MapLabel
    """
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    columns = min(_COLUMNS, max(len(part) for part in pictures))
    rows = [-(-len(part) // columns) for part in pictures]
    width = GAP_PX + columns * (CELL_PX + GAP_PX)
    row_px = CELL_PX + LINE_PX + GAP_PX
    sentence = _wrapped(label.sentence, width, small)
    height = GAP_PX + sum(HEADING_PX + n * row_px for n in rows) + len(sentence) * LINE_PX + GAP_PX
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    top = GAP_PX
    for heading, patches, part in zip(("Most important", "Least important"), ends, pictures, strict=True):
        draw.text((GAP_PX, top), heading, fill=(0, 0, 0), font=font)
        top += HEADING_PX
        for place, (patch, picture) in enumerate(zip(patches, part, strict=True)):
            row, column = divmod(place, columns)
            corner = (GAP_PX + column * (CELL_PX + GAP_PX), top + row * row_px)
            sheet.paste(picture, corner)
            text = f"{scores.score[patch]:.3g}, node {scores.node_of_patch[patch]}"
            draw.text((corner[0], corner[1] + CELL_PX + 2), text, fill=(60, 60, 60), font=small)
        top += -(-len(part) // columns) * row_px
    for line in sentence:
        draw.text((GAP_PX, top), line, fill=(170, 0, 0) if label.verdict == "failed" else (60, 60, 60), font=small)
        top += LINE_PX
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", compress_level=PNG_COMPRESSION)


def _wrapped(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width - 2 * GAP_PX or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
