import subprocess
import sys

import pytest

# In a process of its own: what other tests have left in the heap decides which blocks fit.
MEASURE = """
import resource
import torch
from sparra.training.allocator import freed_memory_kept

def page_faults(n_blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n_blocks):
        torch.ones(8_000_000).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = page_faults(8)
with freed_memory_kept():
    page_faults(1)
    kept = page_faults(8)
print(usual, kept)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_blocks_are_reused():
    told = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    usual, kept = map(int, told.split())
    assert kept < usual / 4
