"""A slide's map as GeoJSON that QuPath opens: one tile object a patch, with its scores as measurements."""

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from sparra.files import write_text
from sparra.maps.label import MapLabel
from sparra.maps.pictures import colours_of
from sparra.maps.scores import ImageScores
from sparra.maps.slide_grid import SlideGrid, corners_px

_NAMESPACE = uuid.UUID("2d0c7a3e-8f0b-4f5c-9f5e-5f3d2a9c1b64")
_CLASS_COLOUR = [33, 145, 140]


def write_geojson(path: Path, scores: ImageScores, grid: SlideGrid, label: MapLabel) -> None:
    """Write the tiles as a FeatureCollection in pixels of level 0, rounded to a hundredth of a pixel.

    Each feature is a ``tile`` object in the form that QuPath writes since 0.4 (``measurements`` as one mapping of
    name to number; older versions read it too): ``Importance``, ``Importance SD`` (left out where it is not known)
    and ``Node``. Its colour is the score's. The class's name tells of a map that failed its checks. What the scores
    are stands in the member ``sparra`` of the collection, which QuPath passes over.

    Parameters
    ----------
    path : Path
    scores : ImageScores
        Of a slide.
    grid : SlideGrid
    label : MapLabel
    """
    boxes = np.round(corners_px(scores, grid), 2)
    colours = colours_of(scores.score)
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(_NAMESPACE, f"{scores.image_key} {label.title} {number}")),
            "geometry": _rectangle(*boxes[number].tolist()),
            "properties": {
                "objectType": "tile",
                "color": colours[number].tolist(),
                "classification": {"name": label.class_name, "color": _CLASS_COLOUR},
                "measurements": _measurements(scores, number),
            },
        }
        for number in range(len(scores))
    ]
    content = {"type": "FeatureCollection", "features": features, "sparra": label.describe(scores)}
    write_text(path, json.dumps(content, allow_nan=False) + "\n")


def _measurements(scores: ImageScores, number: int) -> dict[str, float | int]:
    values: dict[str, float | int] = {"Importance": float(scores.score[number])}
    if np.isfinite(scores.score_sd[number]):
        values["Importance SD"] = float(scores.score_sd[number])
    values["Node"] = int(scores.node_of_patch[number])
    return values


def _rectangle(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {"type": "Polygon", "coordinates": [ring]}
