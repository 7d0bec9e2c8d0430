import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.training.batching import PreparedCohort, training_batches
from sparra.training.scaling import FeatureScaler


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 200), batch_size=st.integers(2, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_every_subject_once_but_for_a_lone_last_one(n, batch_size, share, seed):
    event = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < share
    batches = list(training_batches(event, batch_size, torch.Generator().manual_seed(seed)))
    flat = [index for batch in batches for index in batch]
    assert len(set(flat)) == len(flat) == (n - 1 if n % batch_size == 1 else n)
    assert all(2 <= len(batch) <= batch_size for batch in batches)


def test_events_are_spread():
    event = torch.zeros(160, dtype=torch.bool)
    event[:20] = True
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert all(event[batch].sum() >= 3 for batch in training_batches(event, 32, generator))


def test_epochs_differ_and_seeds_repeat():
    event = torch.arange(50) % 3 == 0
    generator = torch.Generator().manual_seed(1)
    first, second = (list(training_batches(event, 16, generator)) for _ in range(2))
    assert first != second
    assert first == list(training_batches(event, 16, torch.Generator().manual_seed(1)))


def test_collation_keeps_features_edges_and_owners(cohort_maker):
    subjects, _ = cohort_maker(6, missing=True)
    scaler = FeatureScaler(np.zeros(8), np.ones(8))
    cohort = PreparedCohort(subjects, {"slide": scaler})
    chosen = [4, 0, 2]  # subject 0 has no slide
    batch = cohort.collate(chosen, torch.device("cpu"))["slide"]
    assert batch.n_subjects == 3
    assert torch.bincount(batch.subject, minlength=3).tolist() == [
        len(subjects[4].graphs["slide"]),
        0,
        len(subjects[2].graphs["slide"]),
    ]
    start = len(subjects[4].graphs["slide"])
    np.testing.assert_allclose(batch.features[start:], subjects[2].graphs["slide"].features, rtol=1e-6)
    edges = batch.edge_index[:, batch.edge_index[0] >= start] - start
    assert torch.equal(edges, torch.from_numpy(subjects[2].graphs["slide"].edge_index))
    with pytest.raises(KeyError):
        cohort.collate(chosen, torch.device("cpu"))["ct"]
