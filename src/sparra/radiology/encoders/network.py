"""What CT encoders with a network share."""

from collections.abc import Mapping
from typing import Any

from sparra.weights import LoadedNetwork


class NetworkEncoder:
    """Base of encoders with one network: features without names, and what was loaded.

    Parameters
    ----------
    loaded : LoadedNetwork
    """

    feature_names: tuple[str, ...] = ()

    def __init__(self, loaded: LoadedNetwork) -> None:
        self.loaded = loaded

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What was loaded; see `LoadedNetwork.provenance`."""
        return self.loaded.provenance
