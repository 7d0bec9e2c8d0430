"""What ``bundle.json`` holds, validated field by field."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from sparra.bags.settings import ImportSettings
from sparra.graphs.settings import GraphSettings
from sparra.modality import Modality
from sparra.pathology.settings import SlideSettings
from sparra.radiology.settings import CtSettings
from sparra.settings import Settings
from sparra.study.settings import GraphsSettings, MethodModality, PrecisionSettings

Text = Annotated[str, Field(max_length=20_000)]
Range = tuple[float, float]


class _Finite(Settings):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class InputKind(_Finite):
    """What the images of one modality must be, and of what kind those of training were.

    Attributes
    ----------
    features, names, patch, tile_mpp
        As `sparra.study.kinds.kind_of`: number and encoder; digest of the names; side of a slide's tile, µm;
        µm per pixel that the encoder saw.
    weights : tuple of str
        SHA-256 of the encoder's files of weights, sorted; empty without weights or where they are not known.
    source : mapping of str to (float, float)
        Least and largest value over the training images: ``pixel_mm`` and ``slice_mm`` of the CTs as they came
        (the middle and the largest of the three spacings), ``mpp`` of the slides' level 0.
    n_images : int
    """

    features: Text
    names: Text
    patch: float | None
    tile_mpp: float | None
    weights: tuple[Text, ...] = ()
    source: dict[Text, Range] = Field(default_factory=dict)
    n_images: int = Field(ge=1)


class Preprocessing(_Finite):
    """Settings by which images become graphs; no path of the machine that trained is among them."""

    ct: CtSettings
    slide: SlideSettings
    imports: ImportSettings
    bag_dtype: PrecisionSettings
    ct_graph: GraphSettings
    slide_graph: GraphSettings
    graph_dtype: PrecisionSettings

    @property
    def graphs(self) -> GraphsSettings:
        """The graph settings as a study has them."""
        return GraphsSettings(ct=self.ct_graph, slide=self.slide_graph, dtype=self.graph_dtype)

    def graph_of(self, modality: Modality) -> GraphSettings:
        """The graph settings of one modality."""
        return self.ct_graph if modality == "ct" else self.slide_graph


class MemberDescription(_Finite):
    """One model of the ensemble: `FittedAggregator.description`, the tuned penalty, the size of its training part."""

    network: dict[str, Any]
    tuned: dict[str, float]
    n_subjects: int = Field(ge=1)
    n_events: int = Field(ge=1)


class CohortSummary(_Finite):
    """The training cohort in aggregate.

    Attributes
    ----------
    n_subjects, n_events : int
    with_modality : mapping of str to int
        Subjects with a ct, a slide, both.
    median_follow_up : float or None
        By the reverse Kaplan–Meier estimate; None where it is not reached.
    longest_follow_up : float
    age : mapping of str to float or None
        Number known, mean, sd, lower and upper quartile.
    """

    n_subjects: int = Field(ge=1)
    n_events: int = Field(ge=1)
    with_modality: dict[Text, int]
    median_follow_up: float | None
    longest_follow_up: float = Field(gt=0)
    age: dict[Text, float] | None = None


class Figure(_Finite):
    """One figure of performance, out-of-fold in the study, with its 95 % interval or its SD over folds."""

    name: Text
    value: float | None
    lower: float | None = None
    upper: float | None = None
    sd: float | None = None
    note: Text = ""


class MapVerdict(_Finite):
    """What the study's checks of the maps of one modality came to, see docs/maps.md."""

    verdict: Literal["trusted", "failed", "untested"]
    sentence: Text


class BundleContent(_Finite):
    """Everything of a bundle that is not an array.

    Attributes
    ----------
    study : str
        Name of the study.
    modality, aggregator, model : str
        The method: which images, which aggregator, ``CoxPH``, ``Coxnet`` or ``network``.
    weights : {"folds", "refit"}
        Whether the members are the study's fold models or one model fitted to all subjects.
    time_unit : str
    horizons : tuple of float
        Times at which survival is given unless others are asked for.
    cut : {"median", "mean"}
        Rule by which each member's cut was made from its training risks.
    replicates : int
        Bootstrap replicates of each member's survival model.
    preprocessing, inputs, members, cohort, performance
        See their classes.
    maps : mapping of modality to MapVerdict
        Of the study's fold models; empty in bundles of older versions.
    intended_use, limitations : str or tuple of str
    protocol : {"sound", "paper"}
    versions : mapping of str to str
    made_on : str
        Date, ISO 8601.
    """

    study: Text
    modality: MethodModality
    aggregator: Text
    model: Literal["CoxPH", "Coxnet", "network"]
    weights: Literal["folds", "refit"]
    protocol: Literal["sound", "paper"]
    time_unit: Literal["days", "months", "years"]
    horizons: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1, max_length=100)
    cut: Literal["median", "mean"]
    replicates: int = Field(ge=0, le=10_000)
    preprocessing: Preprocessing
    inputs: dict[Modality, InputKind] = Field(min_length=1)
    members: tuple[MemberDescription, ...] = Field(min_length=1, max_length=500)
    cohort: CohortSummary
    performance: tuple[Figure, ...]
    maps: dict[Modality, MapVerdict] = Field(default_factory=dict)
    intended_use: Text
    limitations: tuple[Text, ...]
    versions: dict[Text, Text]
    made_on: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
