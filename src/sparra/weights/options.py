"""Options that every encoder with a network has."""

from typing import Literal

from sparra.settings import Settings

Precision = Literal["auto", "float32", "float16", "bfloat16"]


class NetworkOptions(Settings):
    """What stands under ``encoder_options`` of an encoder with a network.

    Attributes
    ----------
    weights : str or None
        Path of the weights, or ``hub``; see `sparra.weights.source.find_weights`.
    check_sha256 : bool
        Refuse a file whose SHA-256 is not the published one, where one is published. Set to false for a
        published file that was saved anew.
    device : str
        ``auto`` takes a GPU if there is one; else ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision : {"auto", "float32", "float16", "bfloat16"}
        Numbers that matrix products are computed in (mixed precision); ``auto`` is float16 on a GPU and
        float32 elsewhere.
    """

    weights: str | None = None
    check_sha256: bool = True
    device: str = "auto"
    precision: Precision = "auto"
