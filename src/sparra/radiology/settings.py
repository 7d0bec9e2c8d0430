"""Settings of the CT stage; every length is in mm."""

from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from sparra.errors import UserError
from sparra.radiology.encoders import ct_encoders
from sparra.radiology.region import Component
from sparra.settings import Settings

#: A label's number, or the name of a segment or region of interest.
LabelName = PositiveInt | Annotated[str, Field(min_length=1)]
#: One label of the mask, or several whose union is the tumour.
Label = LabelName | Annotated[tuple[LabelName, ...], Field(min_length=1)]


class CtSettings(Settings):
    """How a CT and its mask become a bag of patches.

    Attributes
    ----------
    spacing_mm : float
        Voxel size of the isotropic grid; the paper's code uses 1.024 mm.
    label : int, str or tuple of them
        The tumour's label in the mask, by number or name; several are joined. A label in the images table goes
        before it.
    resample_mask : bool
        Whether masks off their CT's lattice are resampled onto it (nearest neighbour); else they are refused.
        The images table can say so for one mask.
    component : {"largest", "all"}
        Whether only the largest 26-connected part of the label is kept.
    margin_mm : float
        Width of the rim around the tumour's box that goes into the preview.
    patch_mm : float
        Edge of a cubic patch; rounded to whole voxels of the isotropic grid.
    stride_mm : float
        Distance between neighbouring patches; rounded to whole voxels.
    minimum_tumour_fraction : float
        Part of a patch that must be tumour; the patch with most tumour is kept whatever it has.
    minimum_volume_mm3 : float
        A smaller tumour is an error.
    encoder : str
        Name of a registered CT encoder.
    encoder_options : dict
        Settings of that encoder; defaults are filled in.
    """

    spacing_mm: PositiveFloat = 1.024
    label: Label = 1
    resample_mask: bool = False
    component: Component = "largest"
    margin_mm: float = Field(8.0, ge=0)
    patch_mm: PositiveFloat = 12.288
    stride_mm: PositiveFloat = 6.144
    minimum_tumour_fraction: float = Field(0.25, ge=0, le=1)
    minimum_volume_mm3: float = Field(100.0, ge=0)
    encoder: str = "local"
    encoder_options: dict[str, Any] = Field(default_factory=dict)

    @property
    def patch_voxels(self) -> int:
        """Edge of a patch in voxels of the isotropic grid."""
        return round(self.patch_mm / self.spacing_mm)

    @property
    def stride_voxels(self) -> int:
        """Distance between patches in voxels of the isotropic grid."""
        return round(self.stride_mm / self.spacing_mm)

    @model_validator(mode="before")
    @classmethod
    def _fill_encoder_options(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name, options = values.get("encoder", "local"), values.get("encoder_options", {})
        if not isinstance(name, str) or not isinstance(options, dict):
            return values  # pydantic says what is wrong with their types
        try:
            settings = ct_encoders[name].settings.from_mapping(options, where="encoder_options")
        except UserError as error:
            raise ValueError(str(error)) from None
        return {**values, "encoder_options": settings.model_dump(mode="json")}

    @model_validator(mode="after")
    def _patches_hold_voxels(self) -> Self:
        if self.patch_voxels < 2:
            raise ValueError(f"patch_mm {self.patch_mm:g} is less than 2 voxels of spacing_mm {self.spacing_mm:g}")
        if not 1 <= self.stride_voxels <= self.patch_voxels:
            raise ValueError(
                f"stride_mm {self.stride_mm:g} must lie between spacing_mm {self.spacing_mm:g} and"
                f" patch_mm {self.patch_mm:g}, else tumour is left out between patches"
            )
        return self
