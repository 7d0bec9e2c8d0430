"""SPARRA: CT and whole-slide pathology in one survival model, with maps of where the prognosis sits.

Research use only, not a medical device.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparra.bundle.bundle import Bundle
    from sparra.estimators import ABMILSurvival, MeanSurvival, SparraSurvival

__version__ = version("sparra")
RESEARCH_USE_ONLY = "Research use only, not a medical device."

__all__ = [
    "RESEARCH_USE_ONLY",
    "ABMILSurvival",
    "Bundle",
    "MeanSurvival",
    "SparraSurvival",
    "__version__",
]

# Found when they are asked for, as they bring torch with them.
_LAZY = {
    "ABMILSurvival": "sparra.estimators",
    "Bundle": "sparra.bundle.bundle",
    "MeanSurvival": "sparra.estimators",
    "SparraSurvival": "sparra.estimators",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'sparra' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
