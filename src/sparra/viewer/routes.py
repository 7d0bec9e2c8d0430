"""What each path of the viewer answers; every image by its key, no file by its path."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparra import RESEARCH_USE_ONLY, __version__
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.viewer.colours import heat_png, line_png, palette, rgb_png, windowed
from sparra.viewer.images import OpenImages
from sparra.viewer.layers import Layer
from sparra.viewer.security import POLICY, REPORT_POLICY, file_within
from sparra.viewer.study import ViewedImage, ViewedStudy
from sparra.viewer.tiles import TILE_PX, paint_tile, read_tile
from sparra.viewer.volumes import PLANES

K = TypeVar("K")
V = TypeVar("V")

TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
STATIC = (
    "viewer.css", "viewer.js", "patients.js", "slide.js", "ct.js", "follow_up.js", "request.js",
    "openseadragon.min.js", "openseadragon.LICENSE.txt",
)  # fmt: skip
REPORT_FILES = (".html", ".csv", ".tex", ".svg", ".png")
#: HU; a wider or higher window is a mistake.
LARGEST_LEVEL, LARGEST_WIDTH = 32768, 65536
LONGEST_NUMBER = 9


@dataclass(frozen=True)
class Answer:
    """One response.

    Attributes
    ----------
    body : bytes
    content_type : str
    status : int
    policy : str
        Content security policy.
    """

    body: bytes
    content_type: str
    status: int = 200
    policy: str = POLICY


class NotFound(Exception):
    """There is nothing under this path."""


class Routes:
    """Answers of one study.

    Parameters
    ----------
    study : ViewedStudy
    images : OpenImages
    """

    def __init__(self, study: ViewedStudy, images: OpenImages) -> None:
        self._study = study
        self._images = images
        self._rooms: Mapping[str, Callable[[tuple[str, ...], Mapping[str, str]], Answer]] = {
            "static": self._static,
            "report": self._report,
            "study.json": self._describe,
            "patients": self._patients,
            "slide": self._slide,
            "ct": self._ct,
        }

    def answer(self, segments: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        """Return the answer to a path.

        Parameters
        ----------
        segments : tuple of str
            The decoded path.
        query : mapping of str to str

        Raises
        ------
        NotFound
            If there is none.
        """
        if not segments:
            return _packaged("index.html")
        return _wanted(self._rooms, segments[0])(segments[1:], query)

    def _static(self, rest: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        (name,) = _exactly(1, rest)
        if name not in STATIC:
            raise NotFound
        return _packaged(name)

    def _report(self, rest: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        layout = self._study.layout
        path = file_within(layout.report.parent, rest or ("index.html",), REPORT_FILES, layout.root)
        if path is None:
            raise NotFound
        return Answer(path.read_bytes(), TYPES[path.suffix], policy=REPORT_POLICY)

    def _describe(self, rest: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        if rest:
            raise NotFound
        facts = self._study.describe() | {"version": __version__, "note": RESEARCH_USE_ONLY}
        colours = palette()
        facts["colours"] = [list(colours[i : i + 3]) for i in range(3, len(colours), 3)]
        return _json(facts)

    def _patients(self, rest: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        modality, aggregator, model = _exactly(3, rest)
        found = self._study.patients(modality, aggregator, model)
        if found is None:
            raise NotFound
        return _json(found)

    def _slide(self, rest: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        image, what, more = self._image("slide", rest)
        key = image.key
        if what == "info.json":
            return _or_absent(lambda: self._slide_facts(image, query))
        level, column, row = (_number(part) for part in _exactly(3, more))
        with self._images.slide(key) as (slide, pyramid):
            tile = pyramid.tile(level, column, row)
            if tile is None:
                raise NotFound
            if what == "picture":
                return _png(rgb_png(read_tile(slide, tile)))
        if what != "heat":
            raise NotFound
        layer = self._layer(image, query)
        values = _values(layer, query)
        painted = paint_tile(tile, layer.positions, layer.patch_size, values)
        return _png(heat_png(painted, 0.0, float(values.max())))

    def _slide_facts(self, image: ViewedImage, query: Mapping[str, str]) -> Answer:
        with self._images.slide(image.key) as (_, pyramid):
            facts: dict[str, Any] = {
                "width": pyramid.width_px,
                "height": pyramid.height_px,
                "mpp": pyramid.mpp,
                "tile": TILE_PX,
                "first_level": pyramid.first_level,
                "last_level": pyramid.last_level,
            }
        focus: Callable[[Layer], Any] = lambda layer: layer.focus.tolist()  # noqa: E731
        return _json(facts | self._layer_facts(image, query, focus))

    def _ct(self, rest: tuple[str, ...], query: Mapping[str, str]) -> Answer:
        image, what, more = self._image("ct", rest)
        key = image.key
        if what == "info.json":
            return _or_absent(lambda: self._ct_facts(image, query))
        plane, number = _exactly(2, more)
        index = _number(number)
        if plane not in PLANES:
            raise NotFound
        with self._images.volume(key) as volume:
            if not 0 <= index < volume.describe()[plane]["slices"]:
                raise NotFound
            if what == "picture":
                return _png(rgb_png(windowed(volume.slice_hu(plane, index), *_window(query))))
            if what == "outline":
                return _png(line_png(volume.outline(plane, index)))
            if what != "heat":
                raise NotFound
            layer = self._layer(image, query)
            values = _values(layer, query)
            painted = volume.heat(plane, index, layer.positions, layer.patch_size, values)
        return _png(heat_png(painted, 0.0, float(values.max())))

    def _ct_facts(self, image: ViewedImage, query: Mapping[str, str]) -> Answer:
        with self._images.volume(image.key) as volume:
            facts = {"planes": volume.describe(), "outline": volume.preview.mask is not None}
            return _json(facts | self._layer_facts(image, query, lambda layer: volume.slice_of(layer.focus)))

    def _image(self, modality: Modality, rest: tuple[str, ...]) -> tuple[ViewedImage, str, tuple[str, ...]]:
        """Return the image that an address names, what is asked of it, and the rest of the address."""
        if len(rest) < 2:
            raise NotFound
        return _wanted(self._study.images, (modality, rest[0])), rest[1], rest[2:]

    def _layer(self, image: ViewedImage, query: Mapping[str, str]) -> Layer:
        layer = self._images.layer(image, _wanted(query, "modality"), _wanted(query, "aggregator"))
        if layer is None:
            raise NotFound
        return layer

    def _layer_facts(
        self, image: ViewedImage, query: Mapping[str, str], place: Callable[[Layer], Any]
    ) -> dict[str, Any]:
        """Tell whether there is importance to show, up to which value, and where it is highest."""
        original = image.record is not None
        note = "" if original else "The original is not there: this is the small picture kept with the features."
        modality, aggregator = _wanted(query, "modality"), _wanted(query, "aggregator")
        try:
            layer = self._images.layer(image, modality, aggregator)
        except UserError as error:
            return {"heat": None, "note": note, "heat_note": f"No importance: {error.what}."}
        if layer is None:
            return {"heat": None, "note": note, "heat_note": "This method did not use this image."}
        heat = {
            "highest": float(layer.score.max()),
            "highest_sd": float(layer.score_sd.max()) if layer.has_sd else None,
            "spread": layer.spread,
            "patches": len(layer.score),
            "focus": place(layer),
        }
        return {"heat": heat, "note": note, "heat_note": ""}


def _or_absent(facts: Callable[[], Answer]) -> Answer:
    """Answer why there is nothing to show; an answer of failure would be an error on the browser's console."""
    try:
        return facts()
    except UserError as error:
        return _json({"absent": f"{error.what[:1].upper()}{error.what[1:].rstrip('.')}."})


def _window(query: Mapping[str, str]) -> tuple[float, float]:
    level, width = _number(_wanted(query, "level")), _number(_wanted(query, "width"))
    if abs(level) > LARGEST_LEVEL or not 0 < width <= LARGEST_WIDTH:
        raise NotFound
    return float(level), float(width)


def _wanted(content: Mapping[K, V], name: K) -> V:
    """Return what an address names; nothing is told of what else there is."""
    if name not in content:
        raise NotFound
    return content[name]


def _exactly(count: int, parts: tuple[str, ...]) -> tuple[str, ...]:
    if len(parts) != count:
        raise NotFound
    return parts


def _values(layer: Layer, query: Mapping[str, str]) -> NDArray[np.float64]:
    name = _wanted(query, "layer")
    if name not in ("importance", "sd") or (name == "sd" and not layer.has_sd):
        raise NotFound
    return layer.values(name)


def _number(text: str) -> int:
    """Read a whole number written in plain digits."""
    if len(text) > LONGEST_NUMBER or not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise NotFound
    return int(text)


@cache
def _packaged(name: str) -> Answer:
    body = (files("sparra.viewer") / "static" / name).read_bytes()
    return Answer(body, TYPES[f".{name.rpartition('.')[2]}"])


def _png(body: bytes) -> Answer:
    return Answer(body, TYPES[".png"])


def _json(content: Any) -> Answer:
    return Answer(json.dumps(content, allow_nan=False).encode(), "application/json")
