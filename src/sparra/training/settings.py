"""Settings of training an aggregator."""

from typing import Literal

from pydantic import Field

from sparra.models.cox import Ties
from sparra.settings import Settings


class TrainingSettings(Settings):
    """Adam with a cosine schedule stepped each epoch; the defaults are the paper's (section 3.1)."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=32, ge=2, description="subjects a batch, and a risk set's size at most")
    learning_rate: float = Field(default=3e-4, gt=0)
    minimum_learning_rate: float = Field(default=1e-6, ge=0)
    weight_decay: float = Field(default=1e-5, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    ties: Ties = "efron"
    device: Literal["auto", "cpu", "cuda"] = "auto"
