"""Whether a new image is of the kind that a bundle was trained on: refused, remarked on, or neither."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sparra.bags import Bag
from sparra.bundle.content import InputKind
from sparra.errors import UserError
from sparra.graphs.graph import SpatialGraph
from sparra.modality import Modality
from sparra.study.kinds import kind_of

# Any two sizes that are both within this of the bundle's are within the √2 that a study allows between images.
LARGEST_RATIO = 2**0.25
# How far outside the training range a scan's own resolution may lie before it is refused.
LARGEST_STEP_OUTSIDE = 2**0.5
_ROUNDING = 1.02
SOURCE_UNITS = {"pixel_mm": "mm in the plane", "slice_mm": "mm between slices", "mpp": "µm per pixel at level 0"}


class Difference(NamedTuple):
    """One difference from the training images; refused, or only remarked on."""

    what: str
    mend: str
    refused: bool


def differences(known: InputKind, kind: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[Difference]:
    """Compare an image's features with those of training.

    Parameters
    ----------
    known : InputKind
    kind : mapping
        As `sparra.study.kinds.kind_of`.
    provenance : mapping
        Of the image's bag.
    """
    found = []
    if kind["features"] != known.features:
        what = f"its features are {kind['features']}, the bundle was trained on {known.features}"
        found.append(Difference(what, "Extract it with the bundle's encoder", True))
    elif kind["names"] != known.names:
        what = "its features have other names or another order than those of training"
        found.append(Difference(what, "Extract it with the bundle's version of the encoder", True))
    found += _weights(known, provenance)
    for key, told in (("patch", "µm wide"), ("tile_mpp", "µm per pixel")):
        size, usual = kind.get(key), getattr(known, key)
        if size and usual and not 1 / LARGEST_RATIO < size / usual < LARGEST_RATIO:
            what = f"its tiles are {size:.3g} {told}, those of training {usual:.3g}"
            found.append(Difference(what, "Extract it at the bundle's magnification", True))
    return found + _resolution(known, source_resolution(provenance))


def _weights(known: InputKind, provenance: Mapping[str, Any]) -> list[Difference]:
    digests = weight_digests(provenance)
    if known.weights and digests and digests != known.weights:
        what = f"its encoder had other weights (SHA-256 {digests[0][:12]}…) than in training ({known.weights[0][:12]}…)"
        return [Difference(what, "Use the weights that the model card names", True)]
    if known.weights and not digests:
        return [Difference("which weights its encoder had is not known", "Extract it with this package", False)]
    return []


def _resolution(known: InputKind, source: Mapping[str, float]) -> list[Difference]:
    found = []
    for name, value in source.items():
        if name not in known.source:
            continue
        least, most = known.source[name]
        outside = max(value / most, least / value)
        if outside > _ROUNDING:
            refused = outside > LARGEST_STEP_OUTSIDE
            what = f"it has {value:.3g} {SOURCE_UNITS.get(name, name)}, the training images {span(least, most)}"
            mend = "The model was not fitted to such images" if refused else "Take its prediction with care"
            found.append(Difference(what, mend, refused))
    return found


def span(least: float, most: float) -> str:
    """Tell a range to three digits, as one number where it is one."""
    ends = f"{least:.3g}", f"{most:.3g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def source_resolution(provenance: Mapping[str, Any]) -> dict[str, float]:
    """Return the image's own resolution: ``pixel_mm`` and ``slice_mm``, or ``mpp``; empty where it is not known."""
    spacing = provenance.get("scan_spacing_mm")
    if isinstance(spacing, list) and len(spacing) == 3:
        ordered = sorted(map(float, spacing))
        return {"pixel_mm": ordered[1], "slice_mm": ordered[2]}
    slide = provenance.get("slide")
    mpp = slide.get("mpp_x") if isinstance(slide, Mapping) else provenance.get("mpp")
    return {"mpp": float(mpp)} if isinstance(mpp, int | float) and mpp > 0 else {}


def weight_digests(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every SHA-256 in what a bag says of its encoder's weights, sorted."""
    found: set[str] = set()

    def look(part: Any) -> None:
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if isinstance(value, Mapping):
                look(value)
            elif "sha256" in str(key) and isinstance(value, str):
                found.add(value)

    look(provenance.get("weights"))
    return tuple(sorted(found))


def require_kind(known: Mapping[Modality, InputKind], graph: SpatialGraph, where: str) -> None:
    """Check the number of features and the encoder of a graph, as far as it tells them.

    Raises
    ------
    UserError
        If the images behind it are of another kind than those of training.
    """
    kind = known[graph.modality]
    for image in graph.provenance.get("images", {}).values():
        provenance = image.get("bag", {})
        # One row stands for all: the kind lies in the names and the provenance.
        names = tuple(graph.provenance.get("feature_names") or ())
        bag = Bag(graph.modality, graph.features[:1], None, None, names, provenance=provenance)
        for difference in differences(kind, kind_of(bag), provenance):
            if difference.refused:
                raise UserError(difference.what, where, difference.mend)
