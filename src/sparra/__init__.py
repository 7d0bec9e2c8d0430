"""SPARRA: CT and whole-slide pathology in one survival model, with maps of where the prognosis sits.

Research use only, not a medical device.
"""

from importlib.metadata import version

__version__ = version("sparra")
RESEARCH_USE_ONLY = "Research use only, not a medical device."

__all__ = ["RESEARCH_USE_ONLY", "__version__"]
