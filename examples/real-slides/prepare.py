"""Write the tables of two real slides: `python prepare.py ../../../shared/data/slides`."""

import csv
import sys
from pathlib import Path

# The TCGA file's header holds no mpp; without a value in this table, sparra refuses it. 0.5 is an assumption,
# good enough for a picture; in a study, ask whoever made the file.
SLIDES = {"CMU-1": ("cmu-1-small-region.svs", ""), "TCGA-CR-7395": ("tcga-cr-7395-01a-01-ts1.svs", "0.5")}


def main(data: Path) -> None:
    cohort = Path(__file__).parent / "cohort"
    cohort.mkdir(exist_ok=True)
    with (cohort / "subjects.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["subject_id"], *([name] for name in SLIDES)])
    with (cohort / "images.csv").open("w", newline="") as handle:
        images = csv.writer(handle)
        images.writerow(["subject_id", "modality", "path", "mpp"])
        for name, (file, mpp) in SLIDES.items():
            images.writerow([name, "slide", data.resolve() / file, mpp])
    print(f"{len(SLIDES)} slides written to {cohort}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
