"""Settings of the cohort."""

from pathlib import Path
from typing import Literal

from sparra.settings import Settings


class CohortSettings(Settings):
    """Where the tables lie and in which unit the follow-up is.

    Attributes
    ----------
    subjects : Path
        CSV with subject_id, time, event and optional covariates.
    images : Path
        CSV with subject_id, modality, path and optional mask, label, mpp, spacing_mm.
    time_unit : {"days", "months", "years"}
        Unit of the column ``time``; there is no default, since a wrong guess would go unseen.
    """

    subjects: Path
    images: Path
    time_unit: Literal["days", "months", "years"]
