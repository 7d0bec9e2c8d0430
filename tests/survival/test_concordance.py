import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_censored

from sparra.survival.concordance import concordant_of_comparable
from sparra.survival.outcomes import FollowUp

SUBJECTS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 4)), min_size=2, max_size=25)


def count_by_hand(time, event, risk):
    concordant, comparable = 0.0, 0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                comparable += 1
                concordant += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return concordant, comparable


@settings(deadline=None)
@given(SUBJECTS)
def test_pairs_with_ties_equal_a_count_by_hand(subjects):
    time, event, risk = (np.array(column) for column in zip(*subjects, strict=True))
    found = concordant_of_comparable(FollowUp(time, event), risk.astype(float))
    assert found == count_by_hand(time, event, risk)


def test_equals_scikit_survival(whas500):
    features, follow_up = whas500
    risk = features[:, 0]
    concordant, comparable = concordant_of_comparable(follow_up, risk)
    theirs = concordance_index_censored(follow_up.event, follow_up.time, risk)[0]
    assert concordant / comparable == pytest.approx(theirs, abs=1e-12)
