import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.bags.bag import Bag
from sparra.errors import UserError
from sparra.graphs.graph import SpatialGraph
from sparra.maps.scores import (
    combine_models,
    image_scores,
    most_important,
    normalised,
    patch_importance,
    patches_of_image,
)


def graph_of(node_of_patch: list[int], image_of_node: list[int]) -> SpatialGraph:
    n = len(image_of_node)
    return SpatialGraph(
        modality="slide",
        features=np.zeros((n, 2)),
        positions=None,
        edge_index=np.zeros((2, 0), dtype=np.int64),
        node_of_patch=np.asarray(node_of_patch),
        image_of_node=np.asarray(image_of_node),
        images=tuple(f"image-{i}" for i in range(max(image_of_node) + 1)),
    )


@given(st.lists(st.integers(0, 4), min_size=5, max_size=40), st.integers(0, 2**31))
def test_a_patch_has_its_nodes_importance_however_many_share_it(extra: list[int], seed: int) -> None:
    graph = graph_of([0, 1, 2, 3, 4, *extra], [0, 0, 0, 1, 1])
    weights = np.random.default_rng(seed).dirichlet(np.ones(5))
    of_patches = patch_importance(graph, weights)
    for node, patches in enumerate(graph.members):
        assert (of_patches[patches] == weights[node]).all()


# Half of the smallest number there is would be none.
WEIGHTS = st.floats(0.0, 10.0, allow_subnormal=False)


@given(st.lists(WEIGHTS, min_size=1, max_size=12).filter(any), st.integers(0, 2**31))
def test_most_important_marks_whole_nodes_and_no_fewer_hold_half(weights: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.asarray(weights)
    nodes = rng.permutation(np.append(np.arange(len(values)), rng.integers(0, len(values), size=15)))
    marked = most_important(values[nodes], nodes)
    chosen = np.unique(nodes[marked])
    assert not np.isin(nodes[~marked], chosen).any()
    assert values[chosen].sum() >= values.sum() / 2 * (1 - 1e-6)
    assert values[chosen].sum() - values[chosen].min() < values.sum() / 2 * (1 + 1e-6)


def test_patches_of_an_image_keep_the_order_of_its_bag() -> None:
    graph = graph_of([1, 0, 1, 2, 3, 2], [0, 0, 1, 1])
    assert patches_of_image(graph, 0).tolist() == [0, 1, 2]
    assert patches_of_image(graph, 1).tolist() == [3, 4, 5]


def bag_of(n: int) -> Bag:
    return Bag("slide", np.ones((n, 2)), np.arange(2.0 * n).reshape(n, 2), (8.0, 8.0))


def test_spreads_join_by_the_law_of_total_variance() -> None:
    """Against draws: two models, each a normal distribution of the importance of each node."""
    rng = np.random.default_rng(0)
    means, sds = rng.random((2, 6)), 0.1 * rng.random((2, 6))
    draws = rng.normal(means, sds, size=(200_000, 2, 6)).reshape(-1, 6)
    joined = combine_models(list(means), list(sds))
    np.testing.assert_allclose(joined.score, draws.mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(joined.score_sd, draws.std(axis=0), rtol=5e-3)
    assert joined.spread == "posterior, and between 2 models"


def test_without_a_posterior_the_spread_is_between_models_and_of_one_model_unknown() -> None:
    scores = [np.array([0.2, 0.8]), np.array([0.4, 0.6])]
    np.testing.assert_allclose(combine_models(scores, [None, None]).score_sd, [0.1, 0.1])
    alone = combine_models(scores[:1], [None])
    assert np.isnan(alone.score_sd).all()
    assert alone.spread.startswith("unknown")


def test_image_scores_are_of_its_own_patches_in_the_order_of_its_bag() -> None:
    graph = graph_of([1, 0, 1, 2, 3, 2], [0, 0, 1, 1])
    nodes = combine_models([np.array([0.1, 0.2, 0.3, 0.4])], [np.array([0.01, 0.02, 0.03, 0.04])])
    second = image_scores(graph, nodes, bag_of(3), image=1)
    np.testing.assert_allclose(second.score, [0.3, 0.4, 0.3])
    np.testing.assert_allclose(second.score_sd, [0.03, 0.04, 0.03])
    assert second.node_of_patch.tolist() == [2, 3, 2]
    assert second.image_key == "image-1"
    with pytest.raises(UserError, match="now holds 2"):
        image_scores(graph, nodes, bag_of(2), image=1)
    with pytest.raises(UserError, match="positions"):
        image_scores(graph, nodes, Bag("slide", np.ones((3, 2)), None), image=1)
    with pytest.raises(UserError, match="3 values for 4 nodes"):
        image_scores(graph, combine_models([np.ones(3)], [None]), bag_of(3), image=1)


def test_normalisations_are_what_they_say_and_keep_the_order() -> None:
    graph = graph_of([0, 1, 2, 2], [0, 0, 0])
    nodes = combine_models([np.array([0.5, 0.1, 0.4])], [np.array([0.05, 0.05, 0.05])])
    raw = image_scores(graph, nodes, bag_of(4))
    assert normalised(raw, "none") is raw
    ranks = normalised(raw, "rank")
    assert ranks.score.tolist() == [1.0, 0.25, 0.625, 0.625]  # two tie
    assert np.isnan(ranks.score_sd).all()
    stretched = normalised(raw, "minmax")
    np.testing.assert_allclose(stretched.score, [1, 0, 0.75, 0.75])
    np.testing.assert_allclose(stretched.score_sd, raw.score_sd / 0.4)
    assert (ranks.normalisation, stretched.normalisation) == ("rank", "minmax")
