"""Every feature on IBSI's digital phantom and on the CT phantom's configurations A to E, to the published tolerance.

`python -m benchmarks.ibsi_parity` prints the same as a table.
"""

from collections import Counter

import pytest
from benchmarks.parts.ibsi import CONFIGURATIONS, IBSI, NOT_COMPUTED, compare, processing

from sparra.radiology.radiomics.region import REGION_IBSI_IDS

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not IBSI.exists(), reason="no ../shared/data/ibsi beside the project"),
]

#: Values of each family that are compared: one a feature and aggregation.
EXPECTED = {
    "dig_phantom": (6, 3),
    "chest_config_a": (4, 2),
    "chest_config_b": (4, 2),
    "chest_config_c": (2, 1),
    "chest_config_d": (2, 1),
    "chest_config_e": (2, 1),
}


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_consensus_values(name: str) -> None:
    rows, left = compare(name)
    directional, other = EXPECTED[name]
    times = {"shape": 1, "spatial": 1, "intensity": 1, "histogram": 1, "glcm": directional, "glrlm": directional}
    counts = Counter(row.family for row in rows)
    for family, ids in REGION_IBSI_IDS.items():
        with_id = sum(ibsi is not None for ibsi in ids.values())
        assert counts[family] == with_id * times.get(family, other), family
    assert all(tag.startswith(NOT_COMPUTED) for tag in left)
    wrong = [
        f"{row.tag}: {row.found:.6g}, consensus {row.expected:.6g} ± {row.allowed:.2g}"
        for row in rows
        if not row.agrees
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name.startswith("chest")])
def test_image_and_region_after_processing(name: str) -> None:
    """Size, spacing, voxel counts, intensities and boxes after interpolation and resegmentation."""
    described = processing(name)
    assert len(described) == 28
    for tag, (found, expected, allowed) in described.items():
        assert abs(found - expected) <= allowed, f"{tag}: {found:.6g}, consensus {expected:.6g} ± {allowed:.2g}"
