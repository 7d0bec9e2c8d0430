"""Between masks and outlines: polygons in µm that hold exactly the pixels of a mask, and back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from shapely.geometry import MultiPolygon, Polygon

from sparra.pathology.masks import ConnectedParts, Mask, strips

# Grid of the outlines' coordinates in pixels of level 0, so that writing them loses nothing.
COORDINATE_PX = 0.01
# East, south, west, north, as steps of (row, column).
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])


def outline_of(mask: Mask, mpp: tuple[float, float], tolerance_um: float = 0.0) -> MultiPolygon:
    """Trace the outlines of a mask along the edges of its pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
    mpp : tuple of float
        µm per pixel along (x, y).
    tolerance_um : float
        Largest distance by which steps are straightened (Douglas and Peucker); 0 keeps every pixel.

    Returns
    -------
    MultiPolygon
        In µm from the mask's top-left corner, one polygon a connected part (by edges), with holes.
    """
    rings = _rings(mask)
    parts = ConnectedParts(mask).at(np.array([pixel for _, pixel in rings], dtype=np.intp).reshape(-1, 2)).tolist()
    outer: dict[int, NDArray[np.float64]] = {}
    holes: dict[int, list[NDArray[np.float64]]] = {}
    for (ring, _), part in zip(rings, parts, strict=True):
        points = ring[:, ::-1] * np.asarray(mpp)
        if _turns_around_its_inside(ring):
            outer[part] = points
        else:
            holes.setdefault(part, []).append(points)
    polygons = [Polygon(points, holes.get(part, ())) for part, points in sorted(outer.items())]
    if tolerance_um:
        polygons = [polygon.simplify(tolerance_um) for polygon in polygons]
    return as_areas(polygons)


def as_areas(geometries: Iterable[Any]) -> MultiPolygon:
    """Unite geometries into one valid MultiPolygon; points and lines are dropped, crossings resolved."""
    areas = [part for geometry in geometries for part in _polygons(shapely.make_valid(geometry))]
    return MultiPolygon(_polygons(shapely.union_all(areas)))


def _polygons(geometry: Any) -> list[Polygon]:
    parts = shapely.get_parts(geometry, return_index=False)
    nested = [part for part in parts if part.geom_type in ("MultiPolygon", "GeometryCollection")]
    plain = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
    return plain + [polygon for part in nested for polygon in _polygons(part)]


def snapped(outline: MultiPolygon, mpp: tuple[float, float]) -> MultiPolygon:
    """Move an outline in µm to the grid of 0.01 pixels of level 0 on which it is written."""
    pixels = shapely.transform(outline, lambda points: points / np.asarray(mpp))
    return shapely.transform(
        as_areas([shapely.set_precision(pixels, COORDINATE_PX)]), lambda points: points * np.asarray(mpp)
    )


def mask_of(outline: MultiPolygon, shape: tuple[int, int], mpp: float) -> Mask:
    """Fill an outline in µm on a grid of `mpp` µm a pixel, for pictures."""
    canvas = Image.new("1", (shape[1], shape[0]))
    draw = ImageDraw.Draw(canvas)
    # The larger first, so that an island within a hole comes after the hole.
    for polygon in sorted(outline.geoms, key=lambda polygon: -polygon.envelope.area):
        for ring, value in [(polygon.exterior, 1), *((hole, 0) for hole in polygon.interiors)]:
            # A pixel's centre lies half a pixel from its corner.
            points = np.asarray(ring.coords)[:, :2] / mpp - 0.5
            draw.polygon([(float(x), float(y)) for x, y in points], fill=value)
    return np.asarray(canvas, dtype=bool)


def _rings(mask: Mask) -> list[tuple[NDArray[np.intp], tuple[int, int]]]:
    """Return the closed rings of corners (row, column) with a pixel inside at their first edge.

    Every edge between a pixel inside and one outside is a step with the inside to its right. Where four edges
    meet, the ring keeps to its own pixel, so that pixels that touch only by a corner are apart.
    """
    starts, directions, pixels = _steps(mask)
    following = _following(starts, directions, mask.shape)
    corners = np.column_stack(np.divmod(starts, mask.shape[1] + 1))
    visited = np.zeros(len(starts), dtype=bool)
    rings = []
    order = following.tolist()
    for first in range(len(order)):
        if visited[first]:
            continue
        path = [first]
        step = order[first]
        while step != first:
            path.append(step)
            step = order[step]
        visited[path] = True
        turning = directions[path] != directions[np.roll(path, 1)]
        ring = corners[np.asarray(path)[turning]]
        rings.append((ring, (int(pixels[first][0]), int(pixels[first][1]))))
    return rings


def _steps(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the start corner (as one number), the direction and the inside pixel of every edge."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    outside = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    # A pixel's top edge starts at its top-left corner and goes east, its right edge at the next corner, and on.
    starts_at = ((0, 0), (0, 1), (1, 1), (1, 0))
    starts, directions, pixels = [], [], []
    for direction, (neighbour, (down, right)) in enumerate(zip(outside, starts_at, strict=True)):
        found = np.concatenate(
            [np.argwhere(inside[rows] & ~neighbour[rows]) + np.array([rows.start, 0]) for rows in strips(mask.shape)]
        )
        starts.append((found[:, 0] + down) * (mask.shape[1] + 1) + found[:, 1] + right)
        directions.append(np.full(len(found), direction))
        pixels.append(found)
    return np.concatenate(starts), np.concatenate(directions), np.concatenate(pixels)


def _following(starts: NDArray[np.intp], directions: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return for each step the one that comes next: to the right where there is one, else ahead, else left."""
    ends = starts + (_STEPS @ np.array([shape[1] + 1, 1]))[directions]
    offsets = np.searchsorted(directions, np.arange(5))
    following = np.full(len(starts), -1)
    for direction in range(4):
        for turn in (1, 0, -1):
            coming = np.nonzero((directions == direction) & (following < 0))[0]
            first, last = offsets[(direction + turn) % 4], offsets[(direction + turn) % 4 + 1]
            if first == last or not len(coming):
                continue
            own = starts[first:last]  # ascending, as the pixels were found row by row
            place = np.minimum(np.searchsorted(own, ends[coming]), len(own) - 1)
            fits = own[place] == ends[coming]
            following[coming[fits]] = first + place[fits]
    return following


def _turns_around_its_inside(ring: NDArray[np.intp]) -> bool:
    """Whether a ring is an outer one, by the sign of its area; a hole's is negative."""
    rows, columns = ring[:, 0], ring[:, 1]
    return bool(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows) > 0)
