"""Settings of a synthetic cohort."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from sparra.settings import Settings

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Millimetres = Annotated[float, Field(ge=0.7, le=5.0)]
MOST_SLIDE_PIXELS = 8192  # a side; about 1 GB of memory


class SimulationSettings(Settings):
    """What is drawn, and how strongly the images carry the hazard.

    Attributes
    ----------
    subjects : int
        Number of subjects.
    seed : int
        With its own number it fixes a subject: the same whatever the size of the cohort.
    ct_strength, slide_strength : float
        Log hazard ratio per standard deviation of each modality's planted biomarker. At 0 the pictures still
        show the biomarker, but the follow-up does not know it.
    nuisance : float
        Size of the variation between patients that has nothing to do with their hazard (scanner, stain,
        enhancement, cell density); 0 switches it off.
    censoring : float
        Expected fraction of censored subjects, in [0, 1).
    missing_ct, missing_slide : float
        Fractions of subjects that lack a modality. Nobody lacks both, so their sum is at most 1.
    slide_mpp : float
        Micrometres a pixel at level 0.
    slide_um : float
        Side of the square slide, µm; at most 8192 pixels at `slide_mpp`.
    ct_spacing_mm : tuple of float
        Voxel spacing in x, y and z, mm.
    region_share : float
        Planted region as a share of the tumour's volume and of the tissue's area.
    pen_marks : int
        Strokes of a pen across each slide: blue, green, black and red in turn.
    blurred_share : float
        Share of each slide's tissue that is out of focus.
    blur_um : float
        How much: standard deviation of the blur, µm.
    """

    subjects: int = Field(default=60, ge=1, le=9999)
    seed: int = Field(default=0, ge=0)
    ct_strength: float = Field(default=1.4, ge=-5.0, le=5.0)
    slide_strength: float = Field(default=1.4, ge=-5.0, le=5.0)
    nuisance: float = Field(default=1.0, ge=0.0, le=5.0)
    censoring: float = Field(default=0.3, ge=0.0, lt=1.0)
    missing_ct: Fraction = 0.0
    missing_slide: Fraction = 0.0
    slide_mpp: float = Field(default=0.5, ge=0.1, le=4.0)
    slide_um: float = Field(default=2048.0, ge=512.0, allow_inf_nan=False)
    ct_spacing_mm: tuple[Millimetres, Millimetres, Millimetres] = (1.5, 1.5, 2.5)
    region_share: float = Field(default=0.22, ge=0.05, le=0.6)
    pen_marks: int = Field(default=0, ge=0, le=20)
    blurred_share: Fraction = 0.0
    blur_um: float = Field(default=5.0, gt=0.0, le=50.0)

    @field_validator("missing_slide")
    @classmethod
    def _leave_one_modality(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("missing_ct", 0.0) > 1.0:
            raise ValueError("together with 'missing_ct' it may not exceed 1, since every subject has an image")
        return value

    @field_validator("slide_um")
    @classmethod
    def _bound_slide(cls, value: float, info: ValidationInfo) -> float:
        mpp = info.data.get("slide_mpp")
        if mpp is not None and value / mpp > MOST_SLIDE_PIXELS:
            raise ValueError(
                f"at 'slide_mpp' {mpp:g} the slide would be {value / mpp:.0f} pixels wide; at most "
                f"{MOST_SLIDE_PIXELS} are painted, so choose {MOST_SLIDE_PIXELS * mpp:g} or less"
            )
        return value
