"""Importance drawn over a slide's thumbnail and over slices of a CT."""

import textwrap
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from sparra.bags.preview import Preview
from sparra.maps.paint import paint
from sparra.maps.pictures import COLOUR_MAP
from sparra.report.overlay import PatientVolume, focus_patch, patient_volume
from sparra.report.pictures import INK, STYLE

CT_WINDOW_HU = (-160.0, 240.0)
WIDTH_INCHES = 8.6
NOTE_CHARACTERS = 130


@dataclass(frozen=True)
class View:
    """One slice of a CT in the radiological convention.

    Attributes
    ----------
    name : str
    across, down, through : int
        Patient axes (0 = x, 1 = y, 2 = z) along the picture's width and height, and through it.
    flip : bool
        Whether the first row of the array is at the bottom.
    edges : tuple of str
        Letters at the left and at the top.
    """

    name: str
    across: int
    down: int
    through: int
    flip: bool
    edges: tuple[str, str]


VIEWS = (
    View("Axial", 0, 1, 2, False, ("R", "A")),
    View("Coronal", 0, 2, 1, True, ("R", "S")),
    View("Sagittal", 1, 2, 0, True, ("A", "S")),
)


def draw_slide_map(
    preview: Preview,
    positions: NDArray[np.float64],
    patch_size: tuple[float, ...],
    values: NDArray[np.float64],
    note: str = "",
    spread: NDArray[np.float64] | None = None,
) -> Figure:
    """Draw a slide's thumbnail: as scanned, and in grey under the importance of its patches and under its SD.

    Parameters
    ----------
    preview : Preview
        Of a slide.
    positions : ndarray of float64, shape (n_patches, 2)
        Centres of the patches in µm.
    patch_size : tuple of float
        Sides (x, y) in µm.
    values : ndarray of float64, shape (n_patches,)
        Importance; the colour scale runs from 0 to its largest value.
    note : str
        Written below, such as the verdict on the map.
    spread : ndarray of float64, shape (n_patches,), optional
        Its standard deviation, with a colour scale of its own.
    """
    height, width = preview.pixels.shape[:2]
    size = (patch_size[0] / preview.spacing[0], patch_size[1] / preview.spacing[1])
    layers = _layers(values, spread)
    spacing_mm = (preview.spacing[0] / 1000, preview.spacing[1] / 1000)
    extent = (0.0, width * spacing_mm[0], height * spacing_mm[1], 0.0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_figure_size(extent, columns=1 + len(layers), rows=1), layout="constrained")
        plain, *mapped = figure.subplots(1, 1 + len(layers))
        plain.imshow(preview.pixels, extent=extent)
        grey = preview.pixels.astype(np.float64) @ np.asarray([0.299, 0.587, 0.114])
        for axes, (_, layer, label) in zip(mapped, layers, strict=True):
            axes.imshow(grey, extent=extent, cmap="gray", vmin=0, vmax=255)
            painted = paint(preview.to_pixels(positions), size, layer, (height, width))
            scale = _lay_over(axes, painted, extent, float(layer.max()), alpha=0.7)
            _colour_bar(figure, scale, axes, label)
        for axes, title in ((plain, "Slide"), *((a, layer[0]) for a, layer in zip(mapped, layers, strict=True))):
            _bare(axes, title)
            _scale_bar(axes, extent, "black", "white")
        _write_note(figure, note)
    return figure


def draw_ct_map(
    preview: Preview,
    positions: NDArray[np.float64],
    patch_size: tuple[float, ...],
    values: NDArray[np.float64],
    note: str = "",
    spread: NDArray[np.float64] | None = None,
) -> Figure:
    """Draw three slices through the most important patch: plain, and below with importance and with its SD.

    Parameters
    ----------
    preview : Preview
        Of a CT.
    positions : ndarray of float64, shape (n_patches, 3)
        Centres of the patches in mm (LPS).
    patch_size : tuple of float
        Sides (x, y, z) in mm.
    values : ndarray of float64, shape (n_patches,)
        Importance; the colour scale runs from 0 to its largest value.
    note : str
        Written below, such as the verdict on the map.
    spread : ndarray of float64, shape (n_patches,), optional
        Its standard deviation, with a colour scale of its own.
    """
    volume = patient_volume(preview, positions)
    focus = volume.centres[focus_patch(positions, values)]
    extents = [_extent(volume, view) for view in VIEWS]
    widths = [extent[1] for extent in extents]
    tallest = max(max(extent[2], extent[3]) for extent in extents)
    layers = _layers(values, spread)
    rows = 1 + len(layers)
    with mpl.rc_context(STYLE):
        height = rows * (WIDTH_INCHES - 0.9) * tallest / sum(widths) + 0.35 * rows
        figure = Figure(figsize=(WIDTH_INCHES, min(height, 4.5 * rows)), layout="constrained")
        grid = figure.subplots(rows, 3, width_ratios=widths)
        for column, (view, extent) in enumerate(zip(VIEWS, extents, strict=True)):
            _draw_slice(grid[0, column], volume, view, focus, extent)
            _outline(grid[0, column], volume, view, focus, extent)
            _bare(grid[0, column], f"{view.name} slice")
        for number, (title, layer, label) in enumerate(layers, start=1):
            for axes, view, extent in zip(grid[number], VIEWS, extents, strict=True):
                _draw_slice(axes, volume, view, focus, extent)
                painted = _slice_importance(volume, view, focus, patch_size, layer)
                scale = _lay_over(axes, painted, extent, float(layer.max()), alpha=0.55)
                _outline(axes, volume, view, focus, extent)
                _bare(axes, title)
            _colour_bar(figure, scale, grid[number, :], label)
        _write_note(figure, note)
    return figure


def _layers(
    values: NDArray[np.float64], spread: NDArray[np.float64] | None
) -> list[tuple[str, NDArray[np.float64], str]]:
    """Title, values and label of the colour scale of what is laid over an image."""
    layers = [("Importance", values, "Share of the importance, a node")]
    return layers if spread is None else [*layers, ("Standard deviation", spread, "SD of the share, a node")]


def _extent(volume: PatientVolume, view: View) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a slice in mm, from its own corner."""
    lengths = np.asarray(volume.pixels.shape[::-1]) * np.asarray(volume.spacing_mm)
    bottom, top = (0.0, float(lengths[view.down])) if view.flip else (float(lengths[view.down]), 0.0)
    return (0.0, float(lengths[view.across]), bottom, top)


def _cut(volume: NDArray[np.generic], view: View, focus: NDArray[np.float64]) -> NDArray[np.generic]:
    """Slice an array (z, y, x) at the focus; rows run down the view."""
    length = volume.shape[2 - view.through]
    index = int(np.clip(round(float(focus[view.through])), 0, length - 1))
    section: NDArray[np.generic] = np.take(volume, index, axis=2 - view.through)
    return section


def _slice_importance(
    volume: PatientVolume,
    view: View,
    focus: NDArray[np.float64],
    patch_size: tuple[float, ...],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Paint those patches that the slice passes through."""
    size = np.asarray(patch_size) / np.asarray(volume.spacing_mm)
    met = np.abs(volume.centres[:, view.through] - focus[view.through]) <= size[view.through] / 2
    plane = [view.across, view.down]
    shape = _cut(volume.pixels, view, focus).shape
    return paint(
        volume.centres[met][:, plane],
        (float(size[view.across]), float(size[view.down])),
        values[met],
        (shape[0], shape[1]),
    )


def _draw_slice(
    axes: Axes, volume: PatientVolume, view: View, focus: NDArray[np.float64], extent: tuple[float, ...]
) -> None:
    left, right, bottom, top = extent
    axes.imshow(
        _cut(volume.pixels, view, focus).astype(np.float64),
        extent=(left, right, bottom, top),
        origin="lower" if view.flip else "upper",
        cmap="gray",
        vmin=CT_WINDOW_HU[0],
        vmax=CT_WINDOW_HU[1],
    )
    _scale_bar(axes, extent, "white", "black")
    left_letter, top_letter = view.edges
    axes.text(0.02, 0.5, left_letter, transform=axes.transAxes, color="white", fontsize=8, va="center")
    axes.text(0.5, 0.98, top_letter, transform=axes.transAxes, color="white", fontsize=8, ha="center", va="top")


def _outline(
    axes: Axes, volume: PatientVolume, view: View, focus: NDArray[np.float64], extent: tuple[float, ...]
) -> None:
    if volume.mask is None:
        return
    section = _cut(volume.mask, view, focus).astype(np.float64)
    if section.min() == section.max():
        return
    rows, columns = section.shape
    x = (np.arange(columns) + 0.5) * extent[1] / columns
    y = (np.arange(rows) + 0.5) * max(extent[2], extent[3]) / rows
    for colour, width in (("black", 2.2), ("white", 1.1)):
        axes.contour(x, y, section, levels=[0.5], colors=colour, linewidths=width)


def _lay_over(
    axes: Axes, painted: NDArray[np.float64], extent: tuple[float, ...], largest: float, alpha: float
) -> ScalarMappable:
    left, right, bottom, top = extent
    return axes.imshow(
        np.ma.masked_invalid(painted),
        extent=(left, right, bottom, top),
        origin="lower" if top > bottom else "upper",
        cmap=COLOUR_MAP,
        norm=Normalize(0.0, largest if largest > 0 else 1.0),
        alpha=alpha,
        interpolation="nearest",
    )


def _bare(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(False)


def nice_length(width_mm: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten (mm) that is at most a quarter of `width_mm`."""
    room = width_mm / 4
    power = 10.0 ** np.floor(np.log10(room))
    return float(max(step * power for step in (1, 2, 5) if step * power <= room * (1 + 1e-9)))


def _scale_bar(axes: Axes, extent: tuple[float, ...], colour: str, rim: str) -> None:
    """Draw a bar at the bottom left; the axes' coordinates are mm."""
    length = nice_length(extent[1])
    start = 0.03
    end = start + length / extent[1]
    line, words = ([patheffects.Stroke(linewidth=width, foreground=rim), patheffects.Normal()] for width in (4, 3))
    axes.plot([start, end], [0.045, 0.045], transform=axes.transAxes, color=colour, linewidth=2, path_effects=line)
    label = f"{length:g} mm"
    axes.text(start, 0.07, label, transform=axes.transAxes, fontsize=8, color=colour, path_effects=words)


def _colour_bar(figure: Figure, scale: ScalarMappable, axes: object, label: str) -> None:
    percent = PercentFormatter(xmax=1.0)
    bar = figure.colorbar(scale, ax=axes, shrink=0.85, pad=0.02, format=percent)  # type: ignore[arg-type]
    bar.set_label(label, color=INK, fontsize=8)
    bar.outline.set_visible(False)


def _write_note(figure: Figure, note: str) -> None:
    if note:
        figure.supxlabel("\n".join(textwrap.wrap(note, NOTE_CHARACTERS)), fontsize=8, color=INK)


def _figure_size(extent: tuple[float, ...], columns: int, rows: int) -> tuple[float, float]:
    panel = (WIDTH_INCHES - 1.0) / columns
    height = rows * panel * max(extent[2], extent[3]) / extent[1] + 0.5
    return (WIDTH_INCHES, float(np.clip(height, 1.8, 9.0)))
