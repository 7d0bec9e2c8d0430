"""How like the training images an image is: a distance of its mean features, calibrated on the training subjects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.survival.outcomes import FloatArray

FEWEST_SUBJECTS = 10
_FOLDS = 10
_MOST_DIRECTIONS = 30
# A feature that does not vary between subjects may still differ by rounding.
_RELATIVE_SPREAD = 1e-6
_QUANTILES = 201
_STREAM = 12


@dataclass(frozen=True)
class Moments:
    r"""Mean and covariance of the subjects' mean features, the covariance as its first directions and a rest.

    The distance of x with standardised z is
    :math:`D^2 = \sum_i (v_i^T z)^2 / \lambda_i + \lVert z - V V^T z \rVert^2 / \sigma^2`, Mahalanobis's with the
    covariance :math:`V \Lambda V^T + \sigma^2 (I - V V^T)` (probabilistic PCA; Tipping & Bishop, JRSS B 61 (1999)
    611-622).

    Attributes
    ----------
    mean, scale : ndarray, shape (d,)
        Over subjects.
    directions : ndarray, shape (k, d)
        Orthonormal.
    variances : ndarray, shape (k,)
    rest : float
        σ², the variance of each direction left out.
    """

    mean: FloatArray
    scale: FloatArray
    directions: FloatArray
    variances: FloatArray
    rest: float

    @classmethod
    def of(cls, means: FloatArray) -> "Moments":
        """Fit to the mean features of n subjects, shape (n, d)."""
        mean = means.mean(axis=0)
        spread = means.std(axis=0)
        scale = np.maximum(spread, _RELATIVE_SPREAD * np.maximum(np.abs(mean), 1.0))
        z = (means - mean) / scale
        n, d = z.shape
        _, singular, directions = np.linalg.svd(z, full_matrices=False)
        variances = singular**2 / max(n - 1, 1)
        k = int(min(_MOST_DIRECTIONS, n // 5, d, (variances > 1e-9).sum()))
        rest = float(variances[k:].sum() / max(d - k, 1))
        # Never below a thousandth of a feature's own variance, which is one.
        return cls(mean, scale, directions[:k], np.maximum(variances[:k], 1e-3), max(rest, 1e-3))

    def distance(self, means: FloatArray) -> FloatArray:
        """Return D² of each row of `means`, shape (n,)."""
        z = (means - self.mean) / self.scale
        along = z @ self.directions.T
        across = np.maximum((z**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        distance: FloatArray = (along**2 / self.variances).sum(axis=1) + across / self.rest
        return distance


@dataclass(frozen=True)
class Likeness:
    """Moments of one modality's training subjects and the distances that subjects of the same kind have.

    Attributes
    ----------
    moments : Moments
    quantiles : ndarray, shape (Q,)
        Equally spaced quantiles of the training subjects' distances, each by moments of the others: distances
        by moments that a subject went into are too small.
    n_subjects : int
    """

    moments: Moments
    quantiles: FloatArray
    n_subjects: int

    @classmethod
    def of(cls, means: FloatArray, seed: int) -> "Likeness":
        """Fit to the mean node features of the training subjects, shape (n, d).

        Raises
        ------
        UserError
            If there are fewer than 10 subjects, or none differs from another.
        """
        n = len(means)
        if n < FEWEST_SUBJECTS:
            raise UserError(f"likeness to the training images needs {FEWEST_SUBJECTS} subjects, there are {n}")
        place = np.random.default_rng([_STREAM, seed]).permutation(n) % _FOLDS
        if np.ptp(means, axis=0).max() == 0:
            raise UserError("likeness to the training images needs subjects that differ")
        distances = np.empty(n)
        for fold in range(_FOLDS):
            held_out = place == fold
            distances[held_out] = Moments.of(means[~held_out]).distance(means[held_out])
        return cls(Moments.of(means), np.quantile(distances, np.linspace(0, 1, _QUANTILES)), n)

    def share_beyond(self, means: FloatArray) -> FloatArray:
        """Return the share of training subjects that lie at least as far out as each row of `means`, shape (n,).

        Of subjects drawn as the training subjects were, about a share p has a value up to p. Beyond the farthest
        training subject the share, 1 / (n_subjects + 1) there, falls on as the inverse of D²: else a small cohort
        could flag no image, however far out.
        """
        levels = np.linspace(0, 1, len(self.quantiles))
        distance = self.moments.distance(means)
        below = np.interp(distance, self.quantiles, levels, left=0.0, right=1.0)
        share = (1.0 + self.n_subjects * (1.0 - below)) / (self.n_subjects + 1.0)
        farthest = self.quantiles[-1]
        falling: FloatArray = share * farthest / np.maximum(distance, farthest)
        return falling

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        return {
            "mean": self.moments.mean,
            "scale": self.moments.scale,
            "directions": np.ascontiguousarray(self.moments.directions),
            "variances": self.moments.variances,
            "rest": np.array([self.moments.rest]),
            "quantiles": self.quantiles,
            "n_subjects": np.array([self.n_subjects], dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Likeness":
        """Build what `arrays` gave.

        Raises
        ------
        UserError
            If an array is missing or of another shape.
        """
        try:
            found = {name: arrays[name] for name in ("mean", "scale", "directions", "variances")}
            like = cls(
                Moments(**found, rest=float(arrays["rest"][0])), arrays["quantiles"], int(arrays["n_subjects"][0])
            )
            _check(like)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"the moments of the training images do not fit together ({error})") from None
        return like


def _check(like: Likeness) -> None:
    moments = like.moments
    d, k = len(moments.mean), len(moments.variances)
    if moments.mean.ndim != 1 or moments.scale.shape != (d,) or moments.directions.shape != (k, d):
        raise ValueError("shapes differ")
    if not (moments.scale > 0).all() or not (moments.variances > 0).all() or not moments.rest > 0:
        raise ValueError("a variance is not above zero")
    if like.quantiles.ndim != 1 or len(like.quantiles) < 2 or (np.diff(like.quantiles) < 0).any():
        raise ValueError("the quantiles do not rise")
    if not like.quantiles[-1] > 0 or like.n_subjects < FEWEST_SUBJECTS:
        raise ValueError("there are too few subjects, or they do not differ")
