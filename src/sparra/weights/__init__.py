"""Weights of published networks: where they lie, what they must hold, and their way into a network."""

from sparra.weights.layout import Layout
from sparra.weights.load import LoadedNetwork, load_network
from sparra.weights.options import NetworkOptions
from sparra.weights.source import WeightsSource

__all__ = ["Layout", "LoadedNetwork", "NetworkOptions", "WeightsSource", "load_network"]
