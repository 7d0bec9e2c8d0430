"""PyRadiomics on the whole tumour, as the paper ran it: 851 features of the original and the wavelet images."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Mapping
from importlib.metadata import version
from itertools import product
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from pydantic import Field

from sparra.encoders import EncoderCard
from sparra.errors import UserError
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.encoders.radiomics import one_tumour_row
from sparra.radiology.encoders.region import CtRegion, Rows, Triple
from sparra.radiology.geometry import Grid
from sparra.settings import Settings

ImageType = Literal["Original", "Wavelet"]
_INSTALL = (
    "Install it in two steps, for which a C compiler is needed: pip install 'sparra[pyradiomics]' setuptools wheel,"
    " then pip install --no-build-isolation --no-deps pyradiomics==3.0.1"
)
#: Low and high pass along z, y, x.
_WAVELETS = tuple("wavelet-" + "".join(bands) for bands in product("LH", repeat=3))


class PyRadiomicsSettings(Settings):
    """Options of the encoder ``pyradiomics``; the defaults are the paper's.

    PyRadiomics resamples the scan itself, to ``spacing_mm`` of the CT stage. The paper's code took the whole label:
    set ``component: all`` for that.

    Attributes
    ----------
    image_types : tuple of str
        Filtered images: ``Original`` (107 features) and ``Wavelet`` (8 × 93).
    bin_width_hu : float
        Width of a grey level; its edges are multiples of it.
    """

    image_types: tuple[ImageType, ...] = Field(default=("Original", "Wavelet"), min_length=1)
    bin_width_hu: float = Field(default=25.0, gt=0)


class PyRadiomicsEncoder:
    """Encodes the tumour as a whole, on the scan's own grid.

    Parameters
    ----------
    settings : PyRadiomicsSettings

    Raises
    ------
    UserError
        If PyRadiomics is not installed.
    """

    def __init__(self, settings: PyRadiomicsSettings) -> None:
        self.settings = settings
        self._radiomics = load_pyradiomics()
        self.feature_names = tuple(self._names())

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Version of PyRadiomics and of what it computes with."""
        return {"pyradiomics": version("pyradiomics"), "pywavelets": version("PyWavelets")}

    def extent(self, box: Triple, grid: Grid) -> Triple:
        """See `RegionEncoder.extent`: PyRadiomics cuts out its own part of the scan."""
        return box

    def encode_region(self, region: CtRegion) -> Rows:
        """See `RegionEncoder.encode_region`."""
        image, mask = source_images(region)
        values = self.execute(image, mask, region.grid.spacing)
        return one_tumour_row({name: values[name] for name in self.feature_names}, region)

    def execute(self, image: Any, mask: Any, spacing_mm: tuple[float, ...] | None) -> Mapping[str, Any]:
        """Run PyRadiomics on a SimpleITK image and mask (label 1).

        Raises
        ------
        UserError
            If PyRadiomics refuses them, in its words.
        """
        extractor = self._radiomics.featureextractor.RadiomicsFeatureExtractor(
            binWidth=self.settings.bin_width_hu,
            resampledPixelSpacing=None if spacing_mm is None else list(spacing_mm),
            correctMask=True,
            additionalInfo=False,
        )
        extractor.disableAllImageTypes()
        for name in self.settings.image_types:
            extractor.enableImageTypeByName(name)
        try:
            found: Mapping[str, Any] = extractor.execute(image, mask)
        except ValueError as error:
            raise UserError(f"PyRadiomics refuses the tumour: {error}", mend="Check the mask") from None
        return found

    def _names(self) -> list[str]:
        classes = self._radiomics.getFeatureClasses()
        of_class = {
            name: [feature for feature, deprecated in entry.getFeatureNames().items() if not deprecated]
            for name, entry in classes.items()
            if name != "shape2D"
        }
        images = [image for kind in self.settings.image_types for image in _IMAGES[kind]]
        return [
            f"{image}_{name}_{feature}"
            for image in images
            for name, features in of_class.items()
            if name != "shape" or image == "original"
            for feature in features
        ]


_IMAGES: dict[ImageType, tuple[str, ...]] = {"Original": ("original",), "Wavelet": _WAVELETS}


def load_pyradiomics() -> Any:
    """Import PyRadiomics and quieten it.

    Raises
    ------
    UserError
        If it is not installed, telling how to.
    """
    try:
        import radiomics
        import radiomics.featureextractor
    except ImportError:
        raise UserError("PyRadiomics is not installed", mend=_INSTALL) from None
    radiomics.setVerbosity(60)
    return radiomics


def source_images(region: CtRegion) -> tuple[Any, Any]:
    """Return the scan and the tumour's mask on the scan's own grid, as SimpleITK images.

    Raises
    ------
    UserError
        If the region was made without them.
    """
    grid, tumour = region.scan_grid, region.tumour
    if grid is None or tumour is None:
        raise UserError("the region holds no mask on the scan's own grid")
    mask = np.zeros(region.scan.shape, np.uint8)
    z, y, x = (slice(int(s), int(s) + n) for s, n in zip(tumour.start[::-1], tumour.mask.shape, strict=True))
    mask[z, y, x] = tumour.mask
    images = []
    for array in (region.scan, mask):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction.ravel().tolist())
        images.append(image)
    return images[0], images[1]


ct_encoders.register("pyradiomics")(
    CtEncoderEntry(
        card=EncoderCard(
            name="pyradiomics",
            modality="ct",
            dimension=851,
            input_description="the whole tumour on the scan's own grid, resampled by PyRadiomics; one row",
            resolution="any",
            intensity="none; 25 HU grey levels whose edges are multiples of 25",
            licence="GPL-3.0-or-later; PyRadiomics itself: BSD-3-Clause",
            weights="none",
            weights_sha256=None,
            gated=False,
            pretraining="none",
            reference="van Griethuysen et al., Cancer Research 2017;77:e104-e107",
            notes=f"Needs PyRadiomics. {_INSTALL}. Deviates from IBSI, see docs/radiomics.md.",
        ),
        settings=PyRadiomicsSettings,
        build=PyRadiomicsEncoder,
    )
)
