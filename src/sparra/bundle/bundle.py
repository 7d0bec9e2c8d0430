"""A trained model that can be carried away: what it holds, and what it says of new patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.bundle.content import BundleContent
from sparra.bundle.likeness import Likeness
from sparra.bundle.member import Member
from sparra.bundle.subjects import SubjectInput, as_subjects
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.survival.outcomes import FloatArray, require_increasing
from sparra.training.prediction import NodeValues
from sparra.training.subjects import SubjectData

# A subject is remarked on where so small a share of training subjects lies as far out as it does.
UNLIKE_BELOW = 0.05
# A risk so many standard deviations of the training risks from their cut is an extrapolation.
FAR_RISK = 5.0
PERCENTILES = (2.5, 97.5)
# Of the posterior of each network; training draws as many for its own spread.
POSTERIOR_DRAWS = 32


@dataclass(frozen=True)
class CohortPrediction:
    """What a bundle says of n new patients.

    Attributes
    ----------
    subject_ids : tuple of str
    risk : ndarray, shape (n,)
        Mean over the bundle's models of the risk in standard deviations of each one's training risks above its cut;
        higher is worse.
    risk_sd : ndarray, shape (n,)
        Its standard deviation: that of each network's posterior (mean variance over the models), and between the
        models; NaN with one model without a posterior.
    group : ndarray of str, shape (n,)
        ``high`` where the risk is above zero, the training's cut, else ``low``.
    horizons : ndarray, shape (H,)
    survival, lower, upper : ndarray, shape (n, H)
        Mean over the models of the probability to be free of the event after each horizon, and the 2.5 % and
        97.5 % points over all models and, of each, the bootstrap replicates of its survival model, each at one draw
        of the patient's features from the network's posterior where it has one; NaN without any.
    beyond : mapping of modality to ndarray, shape (n,)
        Share of training subjects whose images lie at least as far out; NaN where a subject lacks the modality or
        the training cohort was too small to tell.
    importance : list of n mappings of modality to ndarray
        Importance of every node, mean over the models.
    importance_by_model : tuple of lists as `importance`
        What each model said.
    """

    subject_ids: tuple[str, ...]
    risk: FloatArray
    risk_sd: FloatArray
    group: NDArray[np.str_]
    horizons: FloatArray
    survival: FloatArray
    lower: FloatArray
    upper: FloatArray
    beyond: Mapping[str, FloatArray]
    importance: NodeValues
    importance_by_model: tuple[NodeValues, ...]

    @property
    def unlike(self) -> NDArray[np.bool_]:
        """Whether a subject's images are unlike the training images, at 5 % over its modalities (Bonferroni)."""
        shares = np.array([self.beyond[name] for name in self.beyond]).reshape(len(self.beyond), -1)
        known = (~np.isnan(shares)).sum(axis=0)
        least = np.where(np.isnan(shares), 1.0, shares).min(axis=0, initial=1.0)
        unlike: NDArray[np.bool_] = least * np.maximum(known, 1) < UNLIKE_BELOW
        return unlike

    @property
    def extrapolated(self) -> NDArray[np.bool_]:
        """Whether a risk lies so far from the training's cut that its size means nothing any more."""
        far: NDArray[np.bool_] = np.abs(self.risk) > FAR_RISK
        return far

    def table(self) -> pd.DataFrame:
        """Return one row a subject, as ``predictions.csv`` holds it."""
        columns: dict[str, object] = {
            "subject_id": list(self.subject_ids),
            "risk": self.risk,
            "risk_sd": self.risk_sd,
            "group": self.group,
        }
        for place, horizon in enumerate(self.horizons):
            for name, values in (("", self.survival), ("_lower", self.lower), ("_upper", self.upper)):
                columns[f"survival_{horizon:g}{name}"] = values[:, place]
        columns |= {f"{modality}_share_beyond": share for modality, share in self.beyond.items()}
        return pd.DataFrame({**columns, "unlike_training": self.unlike})


@dataclass(frozen=True)
class Bundle:
    """A trained model: preprocessing, networks, survival models, and what is known of both.

    Attributes
    ----------
    content : BundleContent
    members : tuple of Member
    likeness : mapping of modality to Likeness
    digest : str
        SHA-256 over all files; empty before it is written.

    Examples
    --------
    >>> bundle = Bundle.load(Path("kidney.bundle"))  # doctest: +SKIP
    >>> bundle.predict({"P001": {"ct": ct_bag, "slide": slide_bag}}).table()  # doctest: +SKIP
    """

    content: BundleContent
    members: tuple[Member, ...]
    likeness: Mapping[Modality, Likeness]
    digest: str = ""

    @classmethod
    def load(cls, path: Path | str) -> "Bundle":
        """Read a bundle; every file is checked before any is used.

        Raises
        ------
        UserError
            If it is no bundle of this version, or was changed, cut or added to.
        """
        from sparra.bundle.store import read_bundle

        return read_bundle(Path(path))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities whose images the bundle takes."""
        return tuple(sorted(self.content.inputs))

    def predict(
        self, subjects: Mapping[str, SubjectInput], horizons: Sequence[float] | None = None
    ) -> CohortPrediction:
        """Predict new patients from bags or graphs.

        Parameters
        ----------
        subjects : mapping of subject_id to Bag, SpatialGraph, or mapping of modality to one or several of them
            Bags become graphs by the bundle's own settings.
        horizons : sequence of float, optional
            In the bundle's time unit; its own where left out.

        Raises
        ------
        UserError
            If an input is of another kind than the training images (encoder, feature names, µm per pixel), a
            subject has none of the bundle's modalities, or a horizon lies beyond the training follow-up.
        """
        from sparra.bundle.compare import require_kind

        data = as_subjects(subjects, self.content.preprocessing.graph_of, self.modalities)
        for subject in data:
            for graph in subject.graphs.values():
                require_kind(self.content.inputs, graph, f"subject {subject.subject_id}")
        return self.predict_subjects(data, horizons)

    def times(self, horizons: Sequence[float] | None = None) -> FloatArray:
        """Return the horizons to use, sorted.

        Raises
        ------
        UserError
            If one is not positive or lies beyond the training follow-up.
        """
        given = self.content.horizons if horizons is None else sorted(set(horizons))
        grid = require_increasing(given)
        longest = self.content.cohort.longest_follow_up
        if grid[0] <= 0 or grid[-1] > longest:
            what = f"the horizon {grid[-1] if grid[0] > 0 else grid[0]:g} is outside the training follow-up"
            raise UserError(what, mend=f"Ask for 0 to {longest:g} {self.content.time_unit}")
        return grid

    def predict_subjects(
        self, subjects: Sequence[SubjectData], horizons: Sequence[float] | None = None
    ) -> CohortPrediction:
        """Predict from graphs of the right kind; their follow-up is not looked at."""
        grid = self.times(horizons)
        risks, curves, drawn, variances = [], [], [], []
        importances: list[NodeValues] = []
        for member in self.members:
            features, predicted = member.output(subjects)
            risks.append(member.head.standardised_risk(features))
            curves.append(member.head.survival(features, grid).values)
            spread, variance = _posterior(member, subjects, features, grid)
            drawn.append(spread)
            variances.append(variance)
            importances.append(predicted.importance)
        risk = np.stack(risks)
        lower, upper = _interval(np.concatenate([np.stack(curves), *drawn]))
        return CohortPrediction(
            subject_ids=tuple(subject.subject_id for subject in subjects),
            risk=risk.mean(axis=0),
            risk_sd=_total_sd(risk, np.stack(variances)),
            group=np.where(risk.mean(axis=0) > 0, "high", "low"),
            horizons=grid,
            survival=np.mean(curves, axis=0),
            lower=lower,
            upper=upper,
            beyond={modality: self._beyond(modality, subjects) for modality in self.modalities},
            importance=[_mean(parts) for parts in zip(*importances, strict=True)],
            importance_by_model=tuple(importances),
        )

    def _beyond(self, modality: Modality, subjects: Sequence[SubjectData]) -> FloatArray:
        shares = np.full(len(subjects), np.nan)
        rows = [row for row, subject in enumerate(subjects) if modality in subject.graphs]
        if rows and modality in self.likeness:
            shares[rows] = self.likeness[modality].share_beyond(
                mean_features([subjects[row] for row in rows], modality)
            )
        return shares


def mean_features(subjects: Sequence[SubjectData], modality: str) -> FloatArray:
    """Return the mean node features of each subject, shape (n, d)."""
    return np.stack([subject.graphs[modality].features.mean(axis=0, dtype=np.float64) for subject in subjects])


def _posterior(
    member: Member, subjects: Sequence[SubjectData], features: FloatArray, grid: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return curves (K, n, H) that tell how unsure one model is, and the variance of its standardised risk (n,)."""
    draws = member.feature_draws(subjects, POSTERIOR_DRAWS)
    if draws is None:
        return member.head.survival_replicates(features, grid), np.full(len(features), np.nan)
    risks = np.stack([member.head.standardised_risk(one) for one in draws])
    return member.head.survival_draws(draws, grid), risks.var(axis=0, ddof=1)


def _total_sd(risk: FloatArray, variances: FloatArray) -> FloatArray:
    """Join the variances within and between models, (M, n) each; what is not known counts for nothing."""
    known = ~np.isnan(variances).any()
    if not known and len(risk) == 1:
        return np.full(risk.shape[1], np.nan)
    within = variances.mean(axis=0) if known else np.zeros(risk.shape[1])
    between = risk.var(axis=0, ddof=1) if len(risk) > 1 else np.zeros(risk.shape[1])
    total: FloatArray = np.sqrt(within + between)
    return total


def _interval(curves: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the percentiles over models and replicates, shape (n, H) each; NaN for a single curve."""
    if len(curves) < 2:
        return np.full(curves.shape[1:], np.nan), np.full(curves.shape[1:], np.nan)
    lower, upper = np.percentile(curves, PERCENTILES, axis=0)
    return lower, upper


def _mean(parts: Sequence[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    # A fold model whose training part lacked a modality says nothing of it.
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.mean([part[name] for part in parts if name in part], axis=0, dtype=np.float32) for name in names}
