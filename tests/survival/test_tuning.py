import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.outcomes import FollowUp
from sparra.survival.registry import CandidateRisks
from sparra.survival.tuning import heldout_parts, tune

GRID = np.array([1.0, 2.0, 3.0])


class Feature:
    """Candidate k takes feature k - 1 as the risk; some candidates may fail."""

    parameter = "feature"

    def __init__(self, failing=()):
        self.failing = failing
        self.heldout_sizes = []

    def grid(self, features, follow_up):
        return GRID

    def candidate_risks(self, features, follow_up, heldout, grid, seed):
        self.heldout_sizes.append(len(heldout))
        return CandidateRisks(heldout[:, :3].copy(), dict.fromkeys(self.failing, "broke down"))

    def fit(self, features, follow_up, value, seed):
        raise NotImplementedError


def test_inner_folds_test_everyone_once_with_balanced_events(simulate):
    _, follow_up = simulate(47, 1)
    masks = np.array(list(heldout_parts(follow_up, 5, seed=4)))
    assert (masks.sum(axis=0) == 1).all()
    assert np.ptp(masks.sum(axis=1)) <= 1
    assert np.ptp([follow_up.event[mask].sum() for mask in masks]) <= 1


def test_the_best_candidate_by_pooled_pairs_is_chosen(simulate):
    features, follow_up = simulate(60, 3)
    swapped = features[:, [1, 0, 2]]
    found = tune(Feature(), GRID, swapped, follow_up, seed=0, inner_folds=5)
    assert found.best == 2
    concordant = comparable = 0.0
    for mask in heldout_parts(follow_up, 5, seed=0):
        time, event, risk = follow_up.time[mask], follow_up.event[mask], features[mask, 0]
        pairs = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
        concordant += (pairs & (risk[:, None] > risk)).sum()
        comparable += pairs.sum()
    assert found.scores[2.0] == pytest.approx(concordant / comparable, abs=1e-12)


def test_equals_go_to_the_simplest(simulate):
    features, follow_up = simulate(40, 3)
    same = np.repeat(features[:, :1], 3, axis=1)
    assert tune(Feature(), GRID, same, follow_up, seed=0, inner_folds=4).best == 1


def test_failures_are_recorded_and_never_chosen(simulate):
    features, follow_up = simulate(40, 3)
    found = tune(Feature(failing=[0]), GRID, features, follow_up, seed=0, inner_folds=4)
    assert found.skipped == {1.0: "broke down"}
    assert found.best in (2.0, 3.0)
    assert 1.0 not in found.scores
    with pytest.raises(UserError, match="none of 3 hyper-parameters could be fitted; the first: broke down"):
        tune(Feature(failing=[0, 1, 2]), GRID, features, follow_up, seed=0, inner_folds=4)


def test_no_more_folds_than_events(simulate):
    features, follow_up = simulate(30, 3)
    event = np.zeros(30, dtype=bool)
    event[[3, 9, 20]] = True
    few = FollowUp(follow_up.time, event)
    model = Feature()
    assert tune(model, GRID, features, few, seed=0, inner_folds=5).inner_folds == 3
    assert model.heldout_sizes == [10, 10, 10]
    with pytest.raises(UserError, match="has 0 event"):
        tune(model, GRID, features, FollowUp(follow_up.time, np.zeros(30)), seed=0, inner_folds=5)
