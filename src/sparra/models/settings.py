"""Settings of the aggregators; SPARRA's published, released and recommended configurations are presets."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from sparra.models.objective import NormalGammaPrior
from sparra.settings import Settings

PresetName = Literal["default", "paper", "released"]


class AggregatorSettings(Settings):
    """What every aggregator's settings share."""

    weight_decay: float | None = Field(
        default=None, ge=0, description="overrides the training's weight decay where the model needs its own"
    )
    ensemble: int = Field(default=1, ge=1, description="models of different seeds, unless the training says how many")


class MeanSettings(AggregatorSettings):
    """Mean of node features, with a small network for the risk."""

    hidden: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class ABMILSettings(AggregatorSettings):
    """Attention-based multiple-instance learning."""

    hidden: int = Field(default=256, ge=1)
    attention: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    attention_dropout: float = Field(default=0.25, ge=0, lt=1)


class PoolRatios(Settings):
    """Share of nodes that each of the two top-k poolings keeps, for each modality."""

    ct: float = Field(default=0.5, gt=0, le=1)
    slide: float = Field(default=0.5, gt=0, le=1)


class SparraSettings(AggregatorSettings):
    """SPARRA; the fields' own defaults are the preset ``default``, ``preset`` fills in another one.

    Keys given beside ``preset`` override it. Where ``default`` departs from the paper: graph and pooling decide
    the gate only, from features less the subject's mean, and the gate averages the features before the graph
    (``aggregate``), bags of up to ``minimum_nodes`` nodes are kept whole, q(s) starts narrow and off zero (at
    mu = 0 the gate, a function of mu², has no gradient) with one variance a modality, the divergence is a mild
    mean, and nothing is reconstructed.
    """

    preset: PresetName = "default"
    ensemble: int = Field(default=3, ge=1, description="models of different seeds, unless the training says how many")
    hidden: int = Field(default=256, ge=1, description="width of a modality's first layer")
    pooled: int = Field(default=128, ge=1, description="width of the graph convolutions")
    encoder: int = Field(default=128, ge=1, description="width of the gated network that gives q(s|X)")
    dropout: float = Field(default=0.5, ge=0, lt=1)
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    pool_ratio: PoolRatios = PoolRatios()
    minimum_nodes: int = Field(default=1024, ge=1, le=2**31, description="each pooling keeps at least so many nodes")
    soft_scores: bool = Field(default=True, description="pooled features times 1 + score, not times score")
    gate: Literal["per_modality", "joint"] = "per_modality"
    shared_networks: bool = Field(default=False, description="one encoder and decoder trunk for all modalities")
    initial_posterior: tuple[float, float] | None = Field(
        default=(1.0, -5.3), description="initial mean and log variance of q(s); None: the layer's own bias"
    )
    link: Literal["linear", "sinh"] = Field(
        default="sinh", description="mean of q(s) from the encoder's output a: a, or sinh(a)"
    )
    posterior_mean_limit: float | None = Field(
        default=4.0, gt=0, description="the mean of q(s) levels off here; None: it has no limit"
    )
    smooth_posterior: bool = Field(
        default=True, description="the encoder's output averaged over each kept node and its kept neighbours"
    )
    gate_sees: Literal["graph", "graph_and_node"] = Field(
        default="graph_and_node", description="input of the encoder: f_pool(X), or f_pool(X) beside branch(X)"
    )
    centred_gate: bool = Field(
        default=True, description="the subject's mean over its kept nodes is taken off what the encoder sees"
    )
    smooth_importance: bool = Field(
        default=True, description="importance averaged over each node and its neighbours; the gate is not"
    )
    node_variance: bool = Field(default=False, description="a variance for each node, else one a modality")
    aggregate: Literal["pooled", "branch"] = Field(
        default="branch", description="what the gate averages: f_pool(X), or branch(X) before the graph"
    )
    reparameterised: bool = Field(default=True, description="gradient of the reconstruction to the encoder")
    reduction: Literal["sum", "mean"] = Field(
        default="mean",
        description="sum over a subject's nodes (the bound) or mean over all nodes of the batch",
    )
    kl_weight: float = Field(default=0.0001, ge=0)
    reconstruction_weight: float = Field(default=0.0, ge=0, description="0 builds no decoder")
    reconstruction_precision: float = Field(default=1e-3, gt=0, description="the paper's tau")
    mu0: float = 0.0
    lambda0: float = Field(default=1.0, gt=0)
    alpha0: float = Field(default=2.0, gt=0)
    beta0: float = Field(default=1e-2, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        preset = SPARRA_PRESETS.get(str(values.get("preset", "default")), {})
        merged = {**preset, **values}
        if isinstance(merged.get("pool_ratio"), Mapping):
            merged["pool_ratio"] = {**preset.get("pool_ratio", {}), **merged["pool_ratio"]}
        return merged

    @property
    def prior(self) -> NormalGammaPrior:
        """The Normal–Gamma prior of importance and precision."""
        return NormalGammaPrior(self.mu0, self.lambda0, self.alpha0, self.beta0)


# What the paper and the released code have in common, and `default` has not.
_PUBLISHED: Mapping[str, Any] = {
    "ensemble": 1,
    "encoder": 256,
    "encoder_dropout": 0.25,
    "minimum_nodes": 1,
    "soft_scores": False,
    "initial_posterior": None,
    "link": "linear",
    "posterior_mean_limit": None,
    "smooth_posterior": False,
    "gate_sees": "graph",
    "centred_gate": False,
    "smooth_importance": False,
    "node_variance": True,
    "aggregate": "pooled",
}

SPARRA_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    # Equations (2)-(8) and section 3.1 as printed; Eq. (4) in its conjugate form, which has the same mean.
    "paper": {
        **_PUBLISHED,
        "pool_ratio": {"ct": 0.2, "slide": 0.2},
        "reduction": "sum",
        "kl_weight": 1.0,
        "reconstruction_weight": 1.0,
    },
    # Commit 4f5f320. Its decoder loss is 1e-4 · squared error, ours 0.2 · (1e-3 / 2) · squared error.
    "released": {
        **_PUBLISHED,
        "pool_ratio": {"ct": 0.7, "slide": 0.2},
        "gate": "joint",
        "shared_networks": True,
        "reparameterised": False,
        "reduction": "mean",
        "kl_weight": 0.1,
        "reconstruction_weight": 0.2,
        "weight_decay": 0.0,
    },
}
