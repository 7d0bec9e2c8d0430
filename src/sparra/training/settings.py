"""Settings of training an aggregator."""

from typing import Literal

from pydantic import Field, model_validator

from sparra.models.cox import Ties
from sparra.settings import Settings


class TrainingSettings(Settings):
    """Adam with a cosine schedule stepped each epoch; the defaults are the paper's (section 3.1)."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=32, ge=2, description="subjects a batch, and a risk set's size at most")
    risk_set: Literal["batch", "cohort"] = Field(
        default="batch",
        description="subjects that a death is compared with: of its batch (the paper), or all; "
        "'cohort' takes one step an epoch with the whole cohort's exact gradient, `batch_size` subjects at a time",
    )
    chunk_size: int | None = Field(
        default=None, ge=1, description="subjects held in memory at once; the gradient stays the batch's"
    )
    learning_rate: float = Field(default=3e-4, gt=0)
    minimum_learning_rate: float = Field(default=1e-6, ge=0)
    weight_decay: float = Field(default=1e-5, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    ties: Ties = "efron"
    validation_share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the training subjects kept back to choose the epoch"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many epochs without a lower loss on the part kept back"
    )
    ensemble: int | None = Field(
        default=None,
        ge=1,
        description="models of different seeds whose predictions are averaged; None: as many as the aggregator has",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of node features and matrix products; weights and the loss stay float32"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Left out of what is saved and compared, since results do not depend on it.
    memory_gib: float | None = Field(
        default=None,
        ge=0,
        exclude=True,
        description="GiB of prepared graphs that a fit holds; the others are read again whenever they are used; "
        "None: 1, or a quarter of the item's `memory_gib` where the study sets one",
    )

    @model_validator(mode="after")
    def _patience_needs_a_part_kept_back(self) -> "TrainingSettings":
        if self.patience is not None and self.validation_share == 0:
            raise ValueError("patience needs a validation_share above 0")
        return self

    @model_validator(mode="after")
    def _rate_never_rises(self) -> "TrainingSettings":
        if self.minimum_learning_rate > self.learning_rate:
            raise ValueError("minimum_learning_rate is above learning_rate: lower it, to 0 if need be")
        return self
