"""Posterior spread of importance and risk: what the gate gives at draws of s instead of at its mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparra.models.objective import NormalGammaPrior, normalised_inverse_precision


@dataclass(frozen=True)
class Spread:
    """Standard deviations under q(s).

    Attributes
    ----------
    importance : mapping of modality to Tensor, each of shape (n_nodes,)
    risk : Tensor, shape (B,)
    """

    importance: Mapping[str, Tensor]
    risk: Tensor


@dataclass(frozen=True)
class Draws:
    """What the model gives at n draws of s from q(s).

    Attributes
    ----------
    embedding : Tensor, shape (n, B, n_embedding)
    risk : Tensor, shape (n, B)
    """

    embedding: Tensor
    risk: Tensor


def sampled_gate(
    mu: Tensor,
    log_variance: Tensor,
    prior: NormalGammaPrior,
    segment: Tensor,
    n_segments: int,
    generator: torch.Generator,
) -> Tensor:
    r"""Gate at one draw :math:`s = \mu + \sigma\epsilon` instead of at Q.

    It is proportional to :math:`\beta_0 + \lambda_0 (s-\mu_0)^2/2`.
    Its mean before normalisation is the gate's own, since :math:`E_{q(s)}[(s-\mu_0)^2] = Q`.
    """
    # Drawn on the CPU, so that every device has the same.
    noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype).to(mu.device)
    draw = mu + torch.exp(0.5 * log_variance) * noise
    return normalised_inverse_precision((draw - prior.mu0) ** 2, prior, segment, n_segments)


def spread_over_draws(draw: Callable[[], tuple[Mapping[str, Tensor], Tensor]], n_draws: int) -> Spread:
    """Return the standard deviations (divided by n - 1) of importance and risk over `n_draws` calls of `draw`."""
    count = 0
    means: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    for count in range(1, n_draws + 1):
        importance, risk = draw()
        for name, value in {**importance, "": risk}.items():
            wide = value.double()
            if count == 1:
                means[name], squares[name] = wide, torch.zeros_like(wide)
                continue
            difference = wide - means[name]
            means[name] = means[name] + difference / count
            squares[name] = squares[name] + difference * (wide - means[name])
    deviations = {name: torch.sqrt(value / max(count - 1, 1)) for name, value in squares.items()}
    return Spread({name: value for name, value in deviations.items() if name}, deviations[""])
