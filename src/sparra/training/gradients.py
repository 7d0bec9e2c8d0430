"""The exact gradient of a batch that is processed in chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparra.models.aggregator import Aggregator
from sparra.models.batch import Aggregation
from sparra.models.cox import Ties, negative_log_partial_likelihood
from sparra.training.batching import PreparedCohort


@dataclass(frozen=True)
class Objective:
    """Where the loss of a batch comes from.

    Attributes
    ----------
    model : Aggregator
    cohort : PreparedCohort
    time : Tensor, shape (n_subjects,)
    event : Tensor of bool, shape (n_subjects,)
    ties : {"breslow", "efron"}
    precision : torch.dtype
        Of the matrix products.
    """

    model: Aggregator
    cohort: PreparedCohort
    time: Tensor
    event: Tensor
    ties: Ties
    precision: torch.dtype = torch.float32

    def forward(self, indices: Sequence[int], batch: Sequence[int]) -> Aggregation:
        """Run the model on the subjects at `indices`, a chunk of `batch`."""
        device = self.time.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            return self.model(self.cohort.collate(indices, device, batch))  # type: ignore[no-any-return]

    def cox(self, risk: Tensor, batch: Sequence[int]) -> Tensor:
        """Return the Cox term a subject; zero, with a zero gradient, where no event was observed."""
        index = torch.tensor(batch, device=self.time.device)
        return negative_log_partial_likelihood(risk, self.time[index], self.event[index], self.ties) / len(batch)


def accumulate_gradients(objective: Objective, batch: Sequence[int], chunk_size: int) -> dict[str, float]:
    r"""Add the gradient of a batch's loss to the parameters' ``grad``; memory is bounded by one chunk.

    The Cox term couples all subjects, but only through their risks. So a first pass without gradients finds the
    risks :math:`\eta`, then :math:`g = \partial L / \partial\eta` is taken, and a second pass back-propagates
    :math:`\sum_i g_i \eta_i` and the penalties, chunk by chunk, each with the dropout it had in the first. By the
    chain rule the sum is the whole batch's gradient. One chunk needs no first pass.

    Parameters
    ----------
    objective : Objective
    batch : sequence of int
        Subjects of the batch.
    chunk_size : int

    Returns
    -------
    dict
        ``total``, ``cox`` and each penalty.
    """
    chunks = [batch[start : start + chunk_size] for start in range(0, len(batch), chunk_size)]
    if len(chunks) == 1:
        output = objective.forward(batch, batch)
        cox = objective.cox(output.risk, batch)
        torch.autograd.backward(torch.stack([cox, *output.penalties.values()]).sum())
        return _totals(cox, [output.penalties])
    states, risks = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state(objective.time.device))
            risks.append(objective.forward(chunk, batch).risk)
    risk = torch.cat(risks).requires_grad_()
    cox = objective.cox(risk, batch)
    (gradient,) = torch.autograd.grad(cox, risk)
    penalties = []
    for chunk, state, part in zip(chunks, states, torch.split(gradient, chunk_size), strict=True):
        _set_random_state(state, objective.time.device)
        output = objective.forward(chunk, batch)
        torch.autograd.backward(torch.stack([(part * output.risk).sum(), *output.penalties.values()]).sum())
        penalties.append({name: value.detach() for name, value in output.penalties.items()})
    return _totals(cox, penalties)


def _totals(cox: Tensor, penalties: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    terms = {"cox": float(cox.detach())}
    for part in penalties:
        for name, value in part.items():
            terms[name] = terms.get(name, 0.0) + float(value.detach())
    return {"total": sum(terms.values()), **terms}


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
