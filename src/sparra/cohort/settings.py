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
        CSV with subject_id, modality, path and optional series, mask, label, resample_mask, mpp, spacing_mm.
    review : Path or None
        CSV in which masks were accepted or rejected (``sparra segment``): its masks are taken only if accepted.
    time_unit : {"days", "months", "years"}
        Unit of the column ``time``; there is no default, since a wrong guess would go unseen.
    """

    subjects: Path
    images: Path
    review: Path | None = None
    time_unit: Literal["days", "months", "years"]
