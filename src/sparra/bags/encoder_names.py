"""Names under which tools know one encoder, and how many features it gives."""

import re

from sparra.errors import UserError

# Number of features of each encoder (several where it has variants), then names other than its own.
_ENCODERS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "uni": ((1024,), ("uni_v1", "mahmood-uni", "mahmood-uni-model")),
    "uni2-h": ((1536,), ("uni_v2", "uni2", "mahmood-uni2")),
    "conch": ((512,), ("conch_v1", "mahmood-conch")),
    "conch-v1.5": ((768,), ("conch1.5", "mahmood-conch1_5")),
    "ctranspath": ((768,), ("xiyuewang-ctranspath", "xiyuewang-ctranspath-7c998680")),  # with its digest
    "chief": ((768,), ("chief-ctranspath",)),
    "virchow": ((1280, 2560), ("virchow_v1", "virchow-full")),
    "virchow2": ((1280, 2560), ("virchow_v2",)),
    "prov-gigapath": ((1536,), ("gigapath",)),
    "h-optimus-0": ((1536,), ()),
    "h-optimus-1": ((1536,), ()),
    "h0-mini": ((768, 1536), ("h-optimus-0-mini",)),
    "phikon": ((768,), ("phikon_v1", "iBOTViTBasePANCAN")),  # as HistoSSLscaling called it
    "phikon-v2": ((1024,), ("phikon2",)),
    "hipt": ((192, 384), ("hipt-vit256", "vit256", "DinoChenPancancer")),
    "hipt-4k": ((192,), ("vit4k",)),
    "musk": ((1024, 2048), ()),
    "midnight": ((1536, 3072), ("midnight-12k", "kaiko-midnight")),
    "gpfm": ((1024,), ()),
    "mstar": ((1024,), ()),
    "plip": ((512,), ()),
    "keep": ((768,), ()),
    "hibou-b": ((768,), ()),
    "hibou-l": ((1024,), ()),
    "resnet50": ((1024, 2048), ("resnet50_trunc",)),
}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_PLAIN_NAME = {_plain(alias): name for name, (_, others) in _ENCODERS.items() for alias in (name, *others)}


def common_name(name: str) -> str:
    """Return one spelling for an encoder that tools spell differently; a name that is not known stays.

    Examples
    --------
    >>> common_name("uni_v1"), common_name("conch_v15"), common_name("my encoder")
    ('uni', 'conch-v1.5', 'my encoder')
    """
    return _BY_PLAIN_NAME.get(_plain(name), name)


def check_dimension(name: str, n_features: int) -> None:
    """Check the number of features against an encoder's, where the encoder is known.

    Raises
    ------
    UserError
        If the encoder gives another number.
    """
    dimensions = _ENCODERS.get(common_name(name), ((), ()))[0]
    if dimensions and n_features not in dimensions:
        gives = " or ".join(map(str, dimensions))
        fits = names_of_dimension(n_features)
        hint = f"; {n_features} would fit {', '.join(fits)}" if fits else ""
        raise UserError(
            f"the features have {n_features} columns, but encoder '{name}' gives {gives}{hint}",
            mend="Find out which encoder ran, and give its name",
        )


def names_of_dimension(n_features: int) -> list[str]:
    """Return the known encoders that give this number of features."""
    return [name for name, (dimensions, _) in _ENCODERS.items() if n_features in dimensions]
