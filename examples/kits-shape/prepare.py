"""Write the tables of the KiTS23 masks that are there: `python prepare.py ../../../shared/data/kits23`."""

import csv
import json
import sys
from pathlib import Path

#: 1 kidney, 2 tumour, 3 cyst.
TUMOUR = 2


def main(data: Path) -> None:
    cohort = Path(__file__).parent / "cohort"
    cohort.mkdir(exist_ok=True)
    cases = {case["case_id"]: case for case in json.loads((data / "kits23.json").read_text())}
    masks = sorted(data.glob("case_*/segmentation.nii.gz"))
    with (cohort / "subjects.csv").open("w", newline="") as handle:
        subjects = csv.writer(handle)
        subjects.writerow(["subject_id", "time", "event", "radiographic_size"])
        for mask in masks:
            case = cases[mask.parent.name]
            event = "dead" if case["vital_status"] == "dead" else "alive"
            row = [case["case_id"], case["vital_days_after_surgery"], event, case["radiographic_size"]]
            subjects.writerow(row)
    with (cohort / "images.csv").open("w", newline="") as handle:
        images = csv.writer(handle)
        images.writerow(["subject_id", "modality", "path", "mask", "label"])
        for mask in masks:
            # There is no CT: shape looks at the mask alone, so the mask stands in for it.
            images.writerow([mask.parent.name, "ct", mask.resolve(), mask.resolve(), TUMOUR])
    print(f"{len(masks)} subjects written to {cohort}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
