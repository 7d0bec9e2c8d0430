"""How many micrometres a pixel is: from the table, the file, a stated default or the objective."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparra.errors import UserError
from sparra.pathology.decoders.base import Header

SMALLEST_MPP, LARGEST_MPP, LARGEST_ANISOTROPY = 0.05, 20.0, 0.05
# Glass is 76 mm long, the largest in use (whole-mount) 160 mm.
LARGEST_SIDE_MM = 200.0
MPP_MEND = "Give the true µm per pixel of level 0 in the 'mpp' column of images.csv"
UNKNOWN_MEND = (
    f"{MPP_MEND}, for all such slides as 'slide.default_mpp' in study.yaml, or, if its objective power is to be "
    "trusted, set 'slide.mpp_from_objective'"
)

MppSource = Literal["table", "metadata", "default", "objective"]
_PLACES: dict[MppSource, str] = {
    "table": "images.csv",
    "metadata": "the slide's header",
    "default": "'slide.default_mpp'",
    "objective": "the slide's objective power",
}


@dataclass(frozen=True)
class Resolution:
    """Micrometres per pixel at level 0.

    Attributes
    ----------
    x, y : float
        µm per pixel along each axis.
    source : {"table", "metadata", "default", "objective"}
        Whether it was supplied in images.csv, read in the file, taken from the settings, or follows from the
        objective power (10 µm over the power).
    """

    x: float
    y: float
    source: MppSource


@dataclass(frozen=True)
class MppPolicy:
    """What may stand in where a file says no resolution; by default nothing.

    Attributes
    ----------
    default_mpp : float or None
        µm per pixel of such slides.
    from_objective : bool
        Whether 20x may be taken as 0.5 µm and 40x as 0.25 µm.
    """

    default_mpp: float | None = None
    from_objective: bool = False


def resolve_mpp(
    header: Header, dimensions: tuple[int, int], supplied: float | None, policy: MppPolicy, path: Path
) -> Resolution:
    """Return the resolution of a slide, or tell how to supply it.

    Parameters
    ----------
    header : Header
    dimensions : tuple of int
        (width, height) of level 0 in pixels.
    supplied : float or None
        From images.csv; it replaces what the file says.
    policy : MppPolicy
    path : Path

    Raises
    ------
    UserError
        If the resolution is unknown or absurd.
    """
    resolution = _choose(header, supplied, policy)
    if resolution is None:
        power = f"; its objective is {header.objective_power:g}x" if header.objective_power else ""
        raise UserError(f"the slide does not say its resolution (mpp){power}", where=path, mend=UNKNOWN_MEND)
    _require_sane(resolution, dimensions, path)
    return resolution


def _choose(header: Header, supplied: float | None, policy: MppPolicy) -> Resolution | None:
    if supplied is not None:
        return Resolution(float(supplied), float(supplied), "table")
    if header.mpp is not None:
        return Resolution(*header.mpp, "metadata")
    if header.objective_power and policy.from_objective:
        return Resolution(10 / header.objective_power, 10 / header.objective_power, "objective")
    if policy.default_mpp is not None:
        return Resolution(policy.default_mpp, policy.default_mpp, "default")
    return None


def _require_sane(resolution: Resolution, dimensions: tuple[int, int], path: Path) -> None:
    place = _PLACES[resolution.source]
    for value in (resolution.x, resolution.y):
        if not SMALLEST_MPP <= value <= LARGEST_MPP:
            raise UserError(
                f"the resolution in {place}, {value:g} µm per pixel, is not between {SMALLEST_MPP} and {LARGEST_MPP:g}",
                where=path,
                mend=MPP_MEND,
            )
    if abs(resolution.x - resolution.y) > LARGEST_ANISOTROPY * min(resolution.x, resolution.y):
        raise UserError(
            f"the resolution in {place} differs along x ({resolution.x:g}) and y ({resolution.y:g} µm)",
            where=path,
            mend=MPP_MEND,
        )
    longest_mm = max(dimensions[0] * resolution.x, dimensions[1] * resolution.y) / 1e3
    if longest_mm > LARGEST_SIDE_MM:
        what = f"by the resolution in {place}, {resolution.x:g} µm per pixel, the slide is {longest_mm:.0f} mm long"
        raise UserError(what, where=path, mend=MPP_MEND)
