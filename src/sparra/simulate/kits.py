"""Simulated CTs in the layout of KiTS, to train and try a segmentation on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sparra.files import atomic_path
from sparra.simulate.ct import simulate_ct
from sparra.simulate.settings import SimulationSettings

STREAM = 62


def write_kits_cases(
    folder: Path,
    cases: int,
    seed: int = 0,
    first: int = 0,
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 2.5),
) -> Iterator[str]:
    """Write ``case_00000/imaging.nii.gz`` (HU) and ``segmentation.nii.gz`` (1 kidney, 2 tumour, 3 cyst).

    Parameters
    ----------
    folder : Path
    cases : int
        Number of cases.
    seed : int
        With its own number it fixes a case, whatever the number of cases.
    first : int
        Number of the first case.
    spacing_mm : tuple of float
        Voxel size along x, y, z.

    Yields
    ------
    str
        Name of each case once it is written.
    """
    settings = SimulationSettings(ct_spacing_mm=spacing_mm)
    for number in range(first, first + cases):
        generator = np.random.default_rng([STREAM, seed, number])
        ct = simulate_ct(float(generator.standard_normal()), settings, generator)
        name = f"case_{number:05d}"
        for file, voxels in (("imaging.nii.gz", ct.hu), ("segmentation.nii.gz", ct.labels)):
            with atomic_path(folder / name / file) as temporary:
                sitk.WriteImage(ct.image(voxels), str(temporary), useCompression=True)
        yield name
