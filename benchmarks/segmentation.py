"""Training a small SegResNet on simulated CTs in KiTS layout, and applying it to held-out ones.

``python -m benchmarks.segmentation`` simulates 36 cases to train on (the `small` recipe, which keeps a fifth of them
for choosing the epoch) and 10 that take no part in anything, trains, segments those 10 through the same functions as
``sparra segment predict``, and prints one JSON line: ``tumour_dice``, the mean over the 10 on their own grids;
``lowest_tumour_dice`` of them; ``kidney_dice`` of kidney and masses together; ``tumour_surface_dice`` at 1.15 mm,
which a grid of 4 mm cannot do well; ``minutes`` of preparing, training and validating; ``seconds_per_ct`` of
segmenting one.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sparra.segmentation.cases import find_cases, read_case
from sparra.segmentation.metrics import region_scores
from sparra.segmentation.network import load_model
from sparra.segmentation.predict import segment_ct
from sparra.segmentation.settings import RECIPES, SegmentationSettings
from sparra.segmentation.train import train_segmentation
from sparra.simulate.kits import write_kits_cases

TRAINING, HELD_OUT = 36, 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=0, help="of simulation and training")
    seed = options.parse_args().seed
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        list(write_kits_cases(folder / "training", TRAINING, seed))
        list(write_kits_cases(folder / "held-out", HELD_OUT, seed, first=TRAINING))
        settings = SegmentationSettings.from_mapping({**RECIPES["small"], "seed": seed}, "benchmark")
        start = time.perf_counter()
        train_segmentation(folder / "training", folder / "model", settings, lambda items, label, total: items)
        minutes = (time.perf_counter() - start) / 60
        model = load_model(folder / "model")
        scores, seconds = [], []
        for case in find_cases(folder / "held-out"):
            ct, reference = read_case(case)
            start = time.perf_counter()
            labels, _ = segment_ct(ct, model)
            seconds.append(time.perf_counter() - start)
            scores.append(region_scores(labels, reference, ct.GetSpacing()[::-1]))
    tumour = [case["tumour"][0] for case in scores]
    figures = {
        "tumour_dice": np.mean(tumour),
        "lowest_tumour_dice": np.min(tumour),
        "kidney_dice": np.mean([case["kidney_and_mass"][0] for case in scores]),
        "tumour_surface_dice": np.mean([case["tumour"][1] for case in scores]),
        "minutes": minutes,
        "seconds_per_ct": np.median(seconds),
    }
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
