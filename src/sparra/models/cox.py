"""The Cox negative log partial likelihood, differentiable and stable for any risk."""

from typing import Literal

import torch
from torch import Tensor

Ties = Literal["breslow", "efron"]


def negative_log_partial_likelihood(
    risk: Tensor, time: Tensor, event: Tensor, ties: Ties = "efron", strata: Tensor | None = None
) -> Tensor:
    r"""Sum over events of the negative log partial likelihood.

    Breslow: :math:`\sum_{i: \delta_i} [\ln \sum_{j: t_j \ge t_i} e^{\eta_j} - \eta_i]`. Efron: the l-th of
    the d deaths tied at one time (l = 0 … d-1) sees :math:`\ln(S - \frac ld D)`, S the sum of :math:`e^\eta`
    over the risk set and D over the tied deaths.

    Parameters
    ----------
    risk : Tensor of float, shape (n,)
        Log partial hazards :math:`\eta`, higher = worse; any magnitude.
    time : Tensor, shape (n,)
        Follow-up times; equal values are ties.
    event : Tensor of bool, shape (n,)
        True where the event was observed, False where censored.
    ties : {"breslow", "efron"}
    strata : Tensor, shape (n,), optional
        Risk sets hold only subjects of one stratum.

    Returns
    -------
    Tensor, scalar
        Zero with a zero gradient where no event was observed. Divide by n for the mean over subjects.
    """
    if strata is None:
        return _one_stratum(risk, time, event.bool(), ties)
    parts = [
        _one_stratum(risk[inside], time[inside], event[inside].bool(), ties)
        for inside in (strata == stratum for stratum in torch.unique(strata))
    ]
    return torch.stack(parts).sum()


def _one_stratum(risk: Tensor, time: Tensor, event: Tensor, ties: Ties) -> Tensor:
    if not bool(event.any()):
        return (risk * 0.0).sum()
    order = torch.argsort(time, descending=True, stable=True)
    risk, time, event = risk[order], time[order], event[order]
    _, group, counts = torch.unique_consecutive(time, return_inverse=True, return_counts=True)
    last_of_group = counts.cumsum(0) - 1
    # The shift keeps logcumsumexp, and above all its gradient, well inside the range of float32.
    shift = risk.detach().max()
    log_risk_set = torch.logcumsumexp(risk - shift, dim=0)[last_of_group][group] + shift
    terms = log_risk_set - risk
    if ties == "efron":
        terms = terms + _efron_correction(risk, event, group, log_risk_set, len(counts))
    return terms[event].sum()


def _efron_correction(risk: Tensor, event: Tensor, group: Tensor, log_risk_set: Tensor, n_groups: int) -> Tensor:
    """Return ln(1 - (l/d)·D/S) of every subject; meaningful for events only."""
    index = group[event]
    event_risk = risk[event]
    deaths = torch.zeros(n_groups, dtype=risk.dtype, device=risk.device).index_add(
        0, index, torch.ones_like(event_risk)
    )
    highest = torch.full_like(deaths, -torch.inf).scatter_reduce(0, index, event_risk.detach(), "amax")
    tied_sum = torch.zeros_like(deaths).index_add(0, index, torch.exp(event_risk - highest[index]))
    log_tied = torch.log(tied_sum[index]) + highest[index]
    share = torch.exp(log_tied - log_risk_set[event]).clamp(max=1.0)
    earlier_events = event.to(risk.dtype).cumsum(0)[event] - 1.0
    events_before_group = (deaths.cumsum(0) - deaths)[index]
    rank = earlier_events - events_before_group
    correction = torch.zeros_like(risk)
    return correction.index_put((event.nonzero().squeeze(1),), torch.log1p(-rank / deaths[index] * share))
