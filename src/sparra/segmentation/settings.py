"""Settings of the segmentation; the defaults are the recipe that won KiTS23 (Auto3DSeg SegResNet)."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sparra.settings import Settings

Share = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["float32", "bfloat16", "float16"]
#: Name of a set of settings.
Recipe = Literal["kits23", "small"]


class NetworkSettings(Settings):
    """Architecture, in MONAI's names.

    Attributes
    ----------
    kind : {"SegResNetDS", "SegResNet"}
    init_filters : int
        Channels of the first level, doubled at each further one.
    blocks_down : tuple of int
        Residual blocks of each level.
    dsdepth : int
        Levels that are supervised (SegResNetDS only).
    norm : {"instance", "batch", "group"}
    """

    kind: Literal["SegResNetDS", "SegResNet"] = "SegResNetDS"
    init_filters: PositiveInt = 32
    blocks_down: tuple[PositiveInt, ...] = Field((1, 2, 2, 4, 4), min_length=2)
    dsdepth: PositiveInt = 4
    norm: Literal["instance", "batch", "group"] = "instance"

    @property
    def divisor(self) -> int:
        """Number that each side of the network's input must be a multiple of."""
        return int(2 ** (len(self.blocks_down) - 1))

    @model_validator(mode="after")
    def _supervised_levels_exist(self) -> Self:
        if self.dsdepth > len(self.blocks_down) - 1:
            raise ValueError(
                f"dsdepth {self.dsdepth} is more than the {len(self.blocks_down) - 1} levels of the decoder"
            )
        return self


class InferenceSettings(Settings):
    """Sliding window and what is kept of its result.

    Attributes
    ----------
    overlap : float
        Share of a window that its neighbour covers too.
    most_kidneys : int
        Connected parts of kidney and mass that are kept at most.
    least_part : float
        Smaller parts than this share of the largest are dropped.
    least_mass_ml : float
        Smaller parts of tumour or cyst become kidney.
    least_cyst_depth_mm : float
        A cyst that touches a tumour and is nowhere deeper than this becomes tumour.
    """

    overlap: Share = 0.625
    most_kidneys: PositiveInt = 2
    least_part: Share = 0.1
    least_mass_ml: NonNegativeFloat = 0.1
    least_cyst_depth_mm: NonNegativeFloat = 3.0


class SegmentationSettings(Settings):
    """How a network is trained.

    Attributes
    ----------
    network : NetworkSettings
    inference : InferenceSettings
    spacing_mm : float
        Isotropic voxel size that the network sees.
    patch_voxels : int
        Side of the cubic crops and windows.
    epochs : int
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over `warmup_epochs`, then falls along a cosine.
    warmup_epochs : int
    batch_size : int
        Cases in one step.
    crops_per_case : int
        Crops that each case gives in an epoch.
    augment : bool
        Flips, affine maps, blur, noise, changes of contrast and brightness.
    validate_every : int
        Epochs between validations; the last epoch is always validated.
    folds, fold : int
        The cases are dealt into `folds` parts; number `fold` is for validation.
    precision : {"float32", "bfloat16", "float16"}
        Of convolutions; weights and loss stay float32.
    device : str
        "auto", "cpu", "cuda" or "cuda:1".
    seed : int
    """

    network: NetworkSettings = NetworkSettings()
    inference: InferenceSettings = InferenceSettings()
    spacing_mm: PositiveFloat = 0.78125
    patch_voxels: PositiveInt = 256
    epochs: PositiveInt = 600
    learning_rate: PositiveFloat = 2e-4
    weight_decay: NonNegativeFloat = 1e-5
    warmup_epochs: int = Field(3, ge=0)
    batch_size: PositiveInt = 1
    crops_per_case: PositiveInt = 1
    augment: bool = True
    validate_every: PositiveInt = 5
    folds: int = Field(5, ge=2)
    fold: int = Field(0, ge=0)
    precision: Precision = "float32"
    device: str = "auto"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.patch_voxels % self.network.divisor:
            raise ValueError(f"patch_voxels {self.patch_voxels} is no multiple of the network's {self.network.divisor}")
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is not below folds {self.folds}; they count from 0")
        return self


#: What each recipe changes in the defaults; "small" trains in minutes on two cores, for trying and testing.
RECIPES: dict[Recipe, dict[str, object]] = {
    "kits23": {},
    "small": {
        "network": {"init_filters": 8, "blocks_down": (1, 1, 1), "dsdepth": 2},
        "inference": {"overlap": 0.5},
        "spacing_mm": 4.0,
        "patch_voxels": 32,
        "epochs": 40,
        "learning_rate": 4e-3,
        "batch_size": 2,
        "validate_every": 10,
    },
}
