"""Settings of the survival stage."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, field_serializer, field_validator, model_validator

from sparra.errors import UserError
from sparra.settings import Settings
from sparra.survival.models import survival_models
from sparra.survival.screening import Adjustment


class EvaluationSettings(Settings):
    """How methods are fitted and judged.

    Attributes
    ----------
    survival_models : tuple of str
        Survival models fitted to the embeddings; the paper's four by default.
    folds : int
        Number of cross-validation folds, or of hold-outs in the protocol ``paper``; not used where `splits` or
        `leave_site_out` is given.
    repeats : int
        How often the folds are drawn anew; each subject is tested once a repeat.
    stratify_by : str or None
        Column of ``subjects.csv`` (a histology) that is shared out evenly over the folds, beside the event.
    inner_folds : int
        Folds of the tuning inside each training part.
    screening_p : float or None
        Keep only features whose univariate Cox Wald p on the training part is below this. None (or ``"none"``)
        keeps all. Where nothing is said, ``sound`` keeps all, and ``paper`` takes 0.2 for Mean and ABMIL.
    screening_adjustment : {"none", "benjamini-hochberg"}
        With the latter `screening_p` bounds the false discovery rate instead of p.
    splits : str or None
        A CSV or a folder of published splits (see `sparra.cohort.splits.read_folds`).
    keep_together : str or None
        Column of ``subjects.csv`` (a site, a family) whose subjects stay in one fold; not used with `splits`.
        ``tissue_source_site`` takes the site from TCGA barcodes where there is no such column.
    leave_site_out : str or None
        The same, but each site with 5 events or more is tested alone, the smaller ones together.
    cut : {"median", "mean"}
        Which value of the *training* risks divides low from high risk.
    horizon : float or None
        τ in the study's time unit: C-IPCW, C-AUC and IBS look no further. None derives it once from the
        whole cohort (see `sparra.survival.time_grid.declare_time_grid`).
    horizons : tuple of float or None
        Times, in the study's unit, at which calibration and decision curves are drawn; those before τ are used.
        None takes 1, 3 and 5 years.
    clinical : tuple of str or None
        Columns of ``subjects.csv`` for the clinical comparator; None finds age, stage, grade and sex by their
        usual names, an empty list leaves it out.
    """

    survival_models: tuple[str, ...] = ("RSF", "CoxPH", "Coxnet", "FSVM")
    folds: int = Field(default=5, ge=2)
    inner_folds: int = Field(default=5, ge=2)
    screening_p: float | None = Field(default=None, gt=0, le=1)
    screening_adjustment: Adjustment = "none"
    repeats: int = Field(default=1, ge=1, le=100)
    splits: str | None = None
    stratify_by: str | None = None
    leave_site_out: str | None = None
    keep_together: str | None = None
    cut: Literal["median", "mean"] = "median"
    horizon: float | None = Field(default=None, gt=0)

    horizons: tuple[PositiveFloat, ...] | None = None
    clinical: tuple[str, ...] | None = None

    @property
    def screening(self) -> float | Literal["none"] | None:
        """`screening_p` as it is saved: ``"none"`` where the study says that all are kept, None where it says nothing.

        The two are one in the protocol ``sound`` and not in ``paper``; `sparra.survival.published.screening_threshold`
        tells what they come to.
        """
        said = "screening_p" in self.model_fields_set
        return "none" if said and self.screening_p is None else self.screening_p

    @field_validator("screening_p", mode="before")
    @classmethod
    def _none_in_words(cls, given: object) -> object:
        return None if given == "none" else given

    @field_serializer("screening_p")
    def _saved(self, _given: float | None) -> float | Literal["none"] | None:
        return self.screening

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        ways = ("splits", "leave_site_out", "keep_together")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"'{given[0]}' and '{given[1]}' contradict one another; keep one")
        if given and self.stratify_by is not None:
            raise ValueError(f"'stratify_by' has no effect with '{given[0]}'; keep one")
        if self.screening_adjustment != "none" and self.screening_p is None:
            raise ValueError("'screening_adjustment' has no effect without 'screening_p'")
        if self.repeats > 1 and given and given[0] != "keep_together":
            raise ValueError(f"'repeats' has no effect with '{given[0]}'")
        return self

    @field_validator("survival_models")
    @classmethod
    def _known_and_unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                survival_models[name]
            except UserError as error:
                raise ValueError(str(error)) from None
        if len(set(names)) < len(names):
            raise ValueError("a survival model is named twice")
        return names
