"""Settings of the report."""

from typing import Literal

from pydantic import Field

from sparra.settings import Settings


class ReportSettings(Settings):
    """What the page shows; everything else follows from what the study has written.

    Attributes
    ----------
    patients_per_extreme : int
        How many patients of the highest and how many of the lowest out-of-fold risk get importance maps.
    map_modality : {"joint", "ct", "slide"}
        Model whose importance is drawn; where it is absent, another that exists.
    map_aggregator : str
        Aggregator whose importance is drawn; where it is absent, another that exists.
    group_model : str
        Survival model whose low- and high-risk groups are drawn as Kaplan–Meier curves, CoxPH in the paper's
        Fig. 4; where it is absent, another that exists.
    """

    patients_per_extreme: int = Field(default=1, ge=0, le=20)
    map_modality: Literal["joint", "ct", "slide"] = "joint"
    map_aggregator: str = "sparra"
    group_model: str = "CoxPH"
