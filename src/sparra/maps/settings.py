"""Settings of the importance maps."""

from typing import Literal

from pydantic import Field

from sparra.maps.scores import Normalisation
from sparra.settings import Settings

Format = Literal["overlay", "geojson", "nifti", "picture", "ome-tiff", "gallery", "graph", "dicom"]
FORMATS: tuple[Format, ...] = ("overlay", "geojson", "nifti", "picture", "ome-tiff", "gallery", "graph", "dicom")


class MapsSettings(Settings):
    """Which maps a study writes; see docs/maps.md.

    Attributes
    ----------
    formats : tuple of str
        ``overlay`` (transparent PNG of a slide), ``geojson`` (QuPath), ``nifti`` (CT), ``picture`` (PNG: slide, or CT
        in three planes), ``ome-tiff`` (slide), ``gallery`` (most and least important tiles and CT patches), ``graph``
        (nodes coloured by importance over the image), ``dicom`` (parametric map and segmentation, of a CT that is a
        DICOM series). Empty writes no maps.
    aggregators : tuple of str
        Whose maps; empty: the report's ``map_aggregator`` where it is trained, else every other than ``mean``.
        ``all`` takes every trained one.
    subjects : tuple of str
        Whose maps; empty: all.
    normalisation : {"none", "rank", "minmax"}
        Within an image; raw scores are the default. Kept in every file.
    gallery_patches : int
        Patches at each end of the scale.
    trust : bool
        Whether the maps are checked, see ``maps/trust.csv``.
    trust_subjects : int
        Subjects, drawn at random, on whom deletion, insertion and agreement are tried.
    identifiers : {"keep", "new"}
        UIDs of DICOM maps: those of the scan, by which viewers lay the map over it, or others that cannot be traced
        back. The patient's name, number and dates are never copied.
    """

    formats: tuple[Format, ...] = ("overlay", "geojson", "nifti")
    aggregators: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    normalisation: Normalisation = "none"
    gallery_patches: int = Field(default=8, ge=1, le=64)
    trust: bool = True
    trust_subjects: int = Field(default=40, ge=5)
    identifiers: Literal["keep", "new"] = "keep"
