"""One PNG a case: slices through the tumour with the outlines of its mask, to accept or reject it by."""

# SimpleITK's functions carry no types.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sparra.files import atomic_path
from sparra.radiology.geometry import Grid
from sparra.radiology.region import bounding_box
from sparra.radiology.volume import image_on
from sparra.segmentation.regions import CYST, KIDNEY, TUMOUR

#: Soft tissue: centre 40 HU, width 400 HU.
WINDOW_HU = (-160.0, 240.0)
MARGIN_MM = 30.0
_COLOURS = {KIDNEY: "#ffd24d", CYST: "#4dd2ff", TUMOUR: "#ff4d4d"}
_NAMES = {KIDNEY: "kidney", CYST: "cyst", TUMOUR: "tumour"}


@dataclass(frozen=True)
class _Panel:
    title: str
    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    aspect: float


def draw_montage(ct: sitk.Image, labels: NDArray[np.uint8], title: str, remark: str, path: Path) -> None:
    """Draw three axial slices, a coronal and a sagittal one.

    Slices are seen as radiologists do: the patient's right on the left of axial and coronal pictures, the front
    of the sagittal one on its left. They pass through the tumour or, where there is none, the kidneys, or the
    middle of the scan.

    Parameters
    ----------
    ct : SimpleITK.Image
    labels : ndarray of uint8, shape (z, y, x)
        1 kidney, 2 tumour, 3 cyst, on the CT's grid.
    title, remark : str
        First and second line over the pictures.
    path : Path
    """
    upright: Any = sitk.DICOMOrient(ct, "LPS")
    upright_labels: Any = sitk.DICOMOrient(image_on(Grid.of(ct), labels), "LPS")
    hu = sitk.GetArrayViewFromImage(upright)
    drawn = sitk.GetArrayViewFromImage(upright_labels)
    figure = Figure(figsize=(16, 3.9), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    panels = list(_panels(hu, drawn, np.array(upright.GetSpacing()[::-1])))
    for place, panel in enumerate(panels):
        axes = figure.add_axes((0.005 + place / len(panels), 0.01, 1 / len(panels) - 0.01, 0.76))
        axes.imshow(panel.hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=panel.aspect)
        axes.set_title(panel.title, color="white", fontsize=9, pad=3)
        axes.axis("off")
        for label in (KIDNEY, CYST, TUMOUR):
            mask = panel.labels > 0 if label == KIDNEY else panel.labels == label
            if mask.any() and not mask.all():
                axes.contour(mask, [0.5], colors=[_COLOURS[label]], linewidths=1.1)
    figure.text(0.008, 0.93, title, color="white", fontsize=12)
    figure.text(0.008, 0.865, remark, color="#ffb84d" if remark else "white", fontsize=10)
    handles = [Line2D([], [], color=_COLOURS[label], label=_NAMES[label]) for label in (KIDNEY, TUMOUR, CYST)]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, labelcolor="white", fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, facecolor="black", metadata={"Software": None})


def _panels(hu: NDArray[np.float32], labels: NDArray[np.uint8], spacing: NDArray[np.float64]) -> Iterator[_Panel]:
    """Cut out the panels; arrays are [z, y, x] with x to the left, y to the back, z up."""
    target = labels == TUMOUR if (labels == TUMOUR).any() else labels > 0
    box = bounding_box(target) if target.any() else tuple(slice(n // 2, n // 2 + 1) for n in labels.shape)
    around = bounding_box(labels > 0) if labels.any() else tuple(slice(0, n) for n in labels.shape)
    view = _with_margin(around, labels.shape, spacing)
    z, y, x = (_middle(target, axis, box[axis]) for axis in range(3))
    height = box[0].stop - box[0].start
    slices = sorted({box[0].start + height // 5, z, box[0].stop - 1 - height // 5})
    for k in slices:
        yield _Panel(
            f"axial, slice {k + 1} of {labels.shape[0]}",
            hu[k][view[1:]],
            labels[k][view[1:]],
            float(spacing[1] / spacing[2]),
        )
    upside = slice(None, None, -1)
    coronal = (view[0], y, view[2])
    yield _Panel("coronal", hu[coronal][upside], labels[coronal][upside], float(spacing[0] / spacing[2]))
    sagittal = (view[0], view[1], x)
    yield _Panel("sagittal", hu[sagittal][upside], labels[sagittal][upside], float(spacing[0] / spacing[1]))


def _middle(target: NDArray[np.bool_], axis: int, box: slice) -> int:
    """Return the plane across `axis` that holds most of the target."""
    others = tuple(a for a in range(3) if a != axis)
    areas = target.sum(axis=others)
    return int(areas.argmax()) if areas.any() else box.start


def _with_margin(box: tuple[slice, ...], shape: tuple[int, ...], spacing: NDArray[np.float64]) -> tuple[slice, ...]:
    rims = np.ceil(MARGIN_MM / spacing).astype(int)
    return tuple(slice(max(b.start - r, 0), min(b.stop + r, n)) for b, r, n in zip(box, rims, shape, strict=True))
