"""The registered aggregators: one file and one line each; other packages add theirs by entry point."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparra.models.abmil import ABMILAggregator
from sparra.models.aggregator import Aggregator
from sparra.models.mean import MeanAggregator
from sparra.models.settings import ABMILSettings, AggregatorSettings, MeanSettings, SparraSettings
from sparra.models.sparra import SparraAggregator
from sparra.registry import Registry


@dataclass(frozen=True)
class AggregatorEntry:
    """How to set up and build one aggregator.

    Attributes
    ----------
    settings : type of AggregatorSettings
    build : callable (feature_dims, settings) -> Aggregator
        `feature_dims` maps each modality to its number of node features.
    learned_embedding : bool
        False where the embedding holds no parameter, so that cross-fitting it is needless.
    """

    settings: type[AggregatorSettings]
    build: Callable[[Mapping[str, int], Any], Aggregator]
    learned_embedding: bool = True


aggregators: Registry[AggregatorEntry] = Registry("aggregator", "sparra.aggregators")
aggregators.register("mean")(AggregatorEntry(MeanSettings, MeanAggregator, learned_embedding=False))
aggregators.register("abmil")(AggregatorEntry(ABMILSettings, ABMILAggregator))
aggregators.register("sparra")(AggregatorEntry(SparraSettings, SparraAggregator))
