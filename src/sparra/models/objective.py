r"""The variational objective: Normal–Gamma prior, posteriors and divergences, one function an equation.

Symbols follow the paper (section 2.1). Every node has an importance :math:`s` and a precision :math:`v` with

.. math:: p(s \mid v) = N(\mu_0, (\lambda_0 v)^{-1}), \quad p(v) = Gamma(\alpha_0, \beta_0) \; (rate),

and the mean-field posterior :math:`q(s) = N(\mu, \sigma^2)`, :math:`q(v) = Gamma(\alpha_v, \beta_v)`.
Functions work element by element on tensors of any one shape, one element a node, and leave sums over nodes
to the caller.

`expected_precision`, `importance_divergence`, `precision_divergence`, `alternating_divergence` and
`gaussian_log_likelihood` take no part in training: they are the equations one by one, against which the tests hold the
collapsed and summed forms that do.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparra.models.layers import segment_sum


@dataclass(frozen=True)
class NormalGammaPrior:
    """Prior of importance and precision; its marginal over s is a Student t with 2·alpha0 degrees of freedom.

    Attributes
    ----------
    mu0 : float
        Prior mean of the importance s.
    lambda0 : float
        Scale of the precision v in p(s|v).
    alpha0, beta0 : float
        Shape and rate of the Gamma prior of v.

    Raises
    ------
    ValueError
        If lambda0, alpha0 or beta0 is not positive.
    """

    mu0: float = 0.0
    lambda0: float = 1.0
    alpha0: float = 2.0
    beta0: float = 1e-2

    def __post_init__(self) -> None:
        if min(self.lambda0, self.alpha0, self.beta0) <= 0:
            raise ValueError("lambda0, alpha0 and beta0 must be positive")


def sample_importance(mu: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Draw :math:`s = \mu + \sigma \epsilon`, :math:`\epsilon \sim N(0, 1)`, with gradients to mu and sigma.

    The released code draws without a gradient, which cuts the reconstruction term off from the encoder.
    """
    noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + torch.exp(0.5 * log_variance) * noise


def second_moment(mu: Tensor, log_variance: Tensor, prior: NormalGammaPrior) -> Tensor:
    r""":math:`Q = E_{q(s)}[(s - \mu_0)^2] = (\mu - \mu_0)^2 + \sigma^2`."""
    return (mu - prior.mu0) ** 2 + log_variance.exp()


def precision_posterior(moment: Tensor, prior: NormalGammaPrior) -> tuple[Tensor, Tensor]:
    r"""Conjugate :math:`q(v) = Gamma(\alpha_0 + 1/2, \beta_0 + \lambda_0 Q / 2)`: shape and rate.

    The paper's Eq. (4) doubles both parameters: same mean, but not the minimiser of Eq. (3).
    """
    rate = prior.beta0 + 0.5 * prior.lambda0 * moment
    return torch.full_like(rate, prior.alpha0 + 0.5), rate


def expected_precision(moment: Tensor, prior: NormalGammaPrior) -> Tensor:
    r""":math:`E_{q(v)}[v] = (\alpha_0 + 1/2) / (\beta_0 + \lambda_0 Q / 2)`."""
    shape, rate = precision_posterior(moment, prior)
    return shape / rate


def normalised_inverse_precision(moment: Tensor, prior: NormalGammaPrior, segment: Tensor, n_segments: int) -> Tensor:
    r"""Gate :math:`\hat v_i = E[v_i]^{-1} / \sum_{j \in segment(i)} E[v_j]^{-1}` of section 2.2.

    The shape of q(v) cancels, so the gate is the normalised rate :math:`\beta_0 + \lambda_0 Q_i / 2`.

    Parameters
    ----------
    moment : Tensor, shape (n_nodes,)
        Q of every node.
    prior : NormalGammaPrior
    segment : Tensor of int64, shape (n_nodes,)
        Group within which the gate sums to one: subject, or subject and modality.
    n_segments : int
    """
    _, rate = precision_posterior(moment, prior)
    return rate / segment_sum(rate, segment, n_segments)[segment]


def importance_divergence(
    mu: Tensor, log_variance: Tensor, shape: Tensor, rate: Tensor, prior: NormalGammaPrior
) -> Tensor:
    r"""First term of Eq. (3).

    :math:`E_{q(v)}[KL(q(s) \| p(s|v))] = \frac12 [\lambda_0 E[v] Q - 1 - \ln\sigma^2 - \ln\lambda_0 - E[\ln
    v]]` with :math:`E[\ln v] = \psi(\alpha_v) - \ln\beta_v`.
    """
    moment = second_moment(mu, log_variance, prior)
    expected_log_precision = torch.digamma(shape) - rate.log()
    quadratic = prior.lambda0 * shape / rate * moment
    return 0.5 * (quadratic - 1.0 - log_variance - math.log(prior.lambda0) - expected_log_precision)


def precision_divergence(shape: Tensor, rate: Tensor, prior: NormalGammaPrior) -> Tensor:
    r"""Second term of Eq. (3), :math:`KL(Gamma(\alpha_v, \beta_v) \| Gamma(\alpha_0, \beta_0))`.

    :math:`(\alpha_v-\alpha_0)\psi(\alpha_v) - \ln\Gamma(\alpha_v) + \ln\Gamma(\alpha_0)
    + \alpha_0\ln(\beta_v/\beta_0) + \alpha_v(\beta_0-\beta_v)/\beta_v`.
    """
    return (
        (shape - prior.alpha0) * torch.digamma(shape)
        - torch.lgamma(shape)
        + math.lgamma(prior.alpha0)
        + prior.alpha0 * (rate.log() - math.log(prior.beta0))
        + shape * (prior.beta0 - rate) / rate
    )


def collapsed_divergence(mu: Tensor, log_variance: Tensor, prior: NormalGammaPrior) -> Tensor:
    r"""Eq. (3) at the conjugate q(v): the Student-t form, digamma terms cancelled.

    :math:`(\alpha_0+\frac12)\ln(\beta_0+\frac12\lambda_0 Q) - \frac12\ln\sigma^2 - \frac12 -
    \frac12\ln\lambda_0
    - \ln\Gamma(\alpha_0+\frac12) + \ln\Gamma(\alpha_0) - \alpha_0\ln\beta_0`.
    """
    _, rate = precision_posterior(second_moment(mu, log_variance, prior), prior)
    constant = (
        -0.5
        - 0.5 * math.log(prior.lambda0)
        - math.lgamma(prior.alpha0 + 0.5)
        + math.lgamma(prior.alpha0)
        - prior.alpha0 * math.log(prior.beta0)
    )
    return (prior.alpha0 + 0.5) * rate.log() - 0.5 * log_variance + constant


def alternating_divergence(mu: Tensor, log_variance: Tensor, prior: NormalGammaPrior) -> Tensor:
    r"""The released code's form :math:`\frac12[\lambda_0 \overline{E[v]} Q - \ln\sigma^2]`, E[v] held fixed.

    By the envelope theorem its gradient equals that of :func:`collapsed_divergence`; its value is no bound.
    """
    moment = second_moment(mu, log_variance, prior)
    fixed = expected_precision(moment, prior).detach()
    return 0.5 * (prior.lambda0 * fixed * moment - log_variance)


def gaussian_log_likelihood(values: Tensor, mean: Tensor, precision: float) -> Tensor:
    r"""Eq. (6) of each node.

    :math:`\ln N(x; \hat x, I/\tau) = -\frac\tau2\|x-\hat x\|^2 + \frac D2\ln\frac\tau{2\pi}`.

    Parameters
    ----------
    values, mean : Tensor, shape (n_nodes, n_features)
    precision : float
        The noise precision tau.

    Returns
    -------
    Tensor, shape (n_nodes,)
    """
    return log_likelihood_of_error(((values - mean) ** 2).sum(dim=1), values.shape[1], precision)


def log_likelihood_of_error(squared_error: Tensor, n_values: int, precision: float) -> Tensor:
    r"""Eq. (6) from :math:`\|x-\hat x\|^2` summed over `n_values` values."""
    return 0.5 * n_values * math.log(precision / (2.0 * math.pi)) - 0.5 * precision * squared_error
