from pathlib import Path

import numpy as np
import pytest
from tests.radiology.conftest import oblique_grid, write_series

from sparra.maps.scores import ImageScores

__all__ = ["oblique_grid", "write_series"]

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no ../shared/data beside the project")


def scores_at(positions: np.ndarray, size: tuple[float, ...], modality: str, seed: int = 0, **more) -> ImageScores:
    """Patches, two in a node, with random scores of the nodes that sum to one."""
    rng = np.random.default_rng(seed)
    nodes = np.arange(len(positions)) // 2
    score = rng.dirichlet(np.ones(nodes[-1] + 1))[nodes]
    return ImageScores("P1-ab", modality, positions, size, nodes, score, 0.1 * score, 5, "between 5 models", **more)
