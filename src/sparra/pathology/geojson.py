"""Outlines as GeoJSON in pixels of level 0, as QuPath writes and reads them."""

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, mapping, shape

from sparra.errors import UserError
from sparra.files import write_text
from sparra.pathology.outline import as_areas

TISSUE = "Tissue"
# QuPath ignores classes whose name ends so.
IGNORED = "*"
COLOURS = {TISSUE: (0, 140, 60), "Pen*": (200, 0, 200), "Blur*": (255, 140, 0)}
EXPORT_MEND = "Export annotations from QuPath as GeoJSON (File, Export objects as GeoJSON), uncompressed"
_NAMESPACE = uuid.UUID("6f0d5f0e-52f1-4c8e-9d5a-1b7e4ad0c7a1")


def write_geojson(path: Path, classes: dict[str, MultiPolygon], mpp: tuple[float, float]) -> None:
    """Write outlines as a FeatureCollection that QuPath opens by dragging it onto the slide.

    Parameters
    ----------
    path : Path
    classes : mapping of str to MultiPolygon
        Outlines in µm by class; one annotation a polygon.
    mpp : tuple of float
        µm per pixel of level 0 along (x, y).
    """
    features = []
    for name, outline in classes.items():
        for number, polygon in enumerate(outline.geoms):
            pixels = shapely.transform(polygon, lambda points: np.round(points / np.asarray(mpp), 2))
            features.append(_feature(name, number, pixels, polygon.area / 1e6))
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False) + "\n")


def _feature(name: str, number: int, polygon: Any, area_mm2: float) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{name} {number} {polygon.wkt}")),
        "geometry": mapping(polygon),
        "properties": {
            "objectType": "annotation",
            "name": f"{name.rstrip(IGNORED)} {number + 1}",
            "classification": {"name": name, "color": list(COLOURS.get(name, (128, 128, 128)))},
            "measurements": {"Area mm^2": round(area_mm2, 6)},
        },
    }


def read_geojson(path: Path, mpp: tuple[float, float], dimensions: tuple[int, int]) -> MultiPolygon:
    """Read annotated tissue: all areas, less those of a class that ends in ``*`` (QuPath: ignored).

    Parameters
    ----------
    path : Path
    mpp : tuple of float
        µm per pixel of level 0 along (x, y).
    dimensions : tuple of int
        (width, height) of level 0 in pixels; what lies beyond is cut off.

    Returns
    -------
    MultiPolygon
        In µm.

    Raises
    ------
    UserError
        If the file is no GeoJSON, holds no area, or none that lies on the slide.
    """
    tissue = annotated_tissue(path)
    on_slide = as_areas([tissue.intersection(shapely.box(0, 0, *dimensions))])
    if on_slide.is_empty:
        what = f"the annotation lies outside the slide of {dimensions[0]} × {dimensions[1]} pixels"
        raise UserError(what, where=path, mend="Check that it was drawn on this slide, in pixels of level 0")
    return shapely.transform(on_slide, lambda points: points * np.asarray(mpp))


def annotated_tissue(path: Path) -> MultiPolygon:
    """Read annotated tissue in pixels of level 0, wherever it lies; see `read_geojson`.

    Raises
    ------
    UserError
        If the file is no GeoJSON or holds no area.
    """
    taken: list[Any] = []
    left_out: list[Any] = []
    for feature in _features(path):
        if feature.get("geometry", feature) is None:
            continue  # GeoJSON's way to say that a feature lies nowhere
        geometry = _geometry(feature, path)
        # Its polygons one by one: those of an invalid MultiPolygon that lie in each other would become holes.
        (left_out if _class_name(feature).endswith(IGNORED) else taken).extend(shapely.get_parts(geometry))
    tissue = as_areas(taken)
    if tissue.is_empty:
        what = "the annotation holds no area of tissue"
        raise UserError(what, where=path, mend=f"Draw one in QuPath, of no class that ends in '{IGNORED}'")
    if left_out:
        tissue = as_areas([tissue.difference(as_areas(left_out))])
        if tissue.is_empty:
            what = f"all of the annotated tissue is taken away by areas of a class that ends in '{IGNORED}'"
            raise UserError(what, where=path, mend="Make those areas smaller in QuPath, or change their class")
    return tissue


def _features(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError("the annotation does not exist", path, "Correct its path in images.csv") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"the annotation is not valid GeoJSON ({error})", path, EXPORT_MEND) from None
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not all(isinstance(feature, dict) for feature in content):
        raise UserError("the annotation holds no list of features", path, EXPORT_MEND)
    return content


def _geometry(feature: dict[str, Any], path: Path) -> Any:
    geometry = feature.get("geometry", feature)
    try:
        found = shapely.force_2d(shape(geometry))
        finite = bool(np.isfinite(shapely.get_coordinates(found)).all())
    except (ShapelyError, AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        kind = type(error).__name__
        raise UserError(f"an annotation's geometry cannot be read ({kind}: {error})", path, EXPORT_MEND) from None
    if not finite:
        raise UserError("an annotation has coordinates that are not numbers", path, EXPORT_MEND)
    return found


def _class_name(feature: dict[str, Any]) -> str:
    properties = feature.get("properties") or {}
    classification = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(classification, dict):
        names = classification.get("names")
        return str((names[-1] if isinstance(names, list) and names else classification.get("name")) or "")
    return str(classification or "")
