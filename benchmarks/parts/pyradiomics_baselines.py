"""The baselines that PyRadiomics publishes with its tests: images, labels, settings and expected features."""

import ast
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from benchmarks.parts.pyradiomics_names import PYRADIOMICS_NAMES, their_value
from sparra.radiology.radiomics.region import RadiomicsSettings, region_features
from sparra.radiology.radiomics.texture import Aggregation

BASELINES = Path(__file__).parents[3] / "shared" / "data" / "pyradiomics"
FAMILIES = ("shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
IMAGES = ("brain1", "brain2", "breast1")


@dataclass(frozen=True)
class Case:
    """One column of a baseline table.

    Attributes
    ----------
    family : str
    image : str
    name : str
        The image's name and what is special in the settings, e.g. ``brain1_FBN``.
    settings : mapping
        As PyRadiomics takes them.
    image_types : mapping
    expected : mapping of str to float
        Value of each feature, under PyRadiomics' name.
    """

    family: str
    image: str
    name: str
    settings: dict[str, Any]
    image_types: dict[str, Any]
    expected: dict[str, float]


def cases() -> Iterator[Case]:
    """Return every case whose image is there."""
    for family in FAMILIES:
        with (BASELINES / "baseline" / f"baseline_{family}.csv").open(newline="") as handle:
            header, *rows = csv.reader(handle)
        for column, name in enumerate(header[1:], start=1):
            values = {row[0]: row[column] for row in rows}
            image = values["diagnostics_Configuration_TestCase"]
            if image not in IMAGES:
                continue
            expected = {key: float(value) for key, value in values.items() if "diagnostics" not in key and value}
            settings = ast.literal_eval(values["diagnostics_Configuration_Settings"])
            types = ast.literal_eval(values["diagnostics_Configuration_EnabledImageTypes"])
            yield Case(family, image, name, settings, types, expected)


def read_images(name: str) -> tuple[Any, Any]:
    """Return image and label as SimpleITK images."""
    image, label = (sitk.ReadImage(str(BASELINES / f"{name}_{kind}.nrrd")) for kind in ("image", "label"))
    return image, label


def our_settings(case: Case, lowest: float, highest: float) -> RadiomicsSettings | None:
    """Return the settings of ours that mean the same as a case's, or None where there are none.

    Two-dimensional matrices of PyRadiomics are per direction and over all slices (IBSI's 2.5D, direction-merged);
    its levels begin at a multiple of the bin width.
    """
    special = case.name.removeprefix(case.image)
    aggregation: Aggregation = "2.5d_averaged" if special == "_2d" else "3d_averaged"
    families = tuple(dict.fromkeys(_FAMILY_OF.get(case.family, (case.family,))))
    if special == "_FBN":
        return RadiomicsSettings(families=families, bin_width_hu=None, bin_count=64, aggregation=aggregation)
    if special in ("", "_2d"):
        reach = (float(np.floor(lowest / 25) * 25), highest + 1)
        return RadiomicsSettings(families=families, intensity_range=reach, aggregation=aggregation)
    return None


def ours_beside(case: Case) -> list[tuple[str, float, float]] | None:
    """Compute a case's features that both define alike; returns (our name, our value, theirs), or None."""
    image, label = read_images(case.image)
    volume, mask = sitk.GetArrayFromImage(image).astype(np.float64), sitk.GetArrayFromImage(label) == 1
    settings = our_settings(case, float(volume[mask].min()), float(volume[mask].max()))
    if settings is None:
        return None
    found = region_features(volume, mask, image.GetSpacing(), settings)
    # The baselines were made with voxelArrayShift, which PyRadiomics adds to the intensities for these two.
    shifted = ("stat_energy", "stat_rms") if case.settings.get("voxelArrayShift") else ()
    rows = []
    for name, value in found.items():
        if name not in shifted and f"original_{PYRADIOMICS_NAMES.get(name)}" in case.expected:
            rows.append((name, value, their_value(name, case.expected)))
    return rows


_FAMILY_OF: dict[str, tuple[Any, ...]] = {"firstorder": ("intensity", "histogram")}
