"""Write the tables of the 16 soft-tissue sarcoma CTs: `python prepare.py ../../../shared/data/sts-ct`."""

import csv
import sys
from pathlib import Path

import pandas as pd

STATUS = {"NED": "alive", "AWD": "alive", "D": "dead"}


def main(data: Path) -> None:
    cohort = Path(__file__).parent / "cohort"
    cohort.mkdir(exist_ok=True)
    sheet = pd.read_excel(next(data.glob("INFOclinical*.xlsx"))).set_index("Patient ID")
    folders = sorted(folder for folder in (data / "nifti").iterdir() if folder.name in sheet.index)
    with (cohort / "subjects.csv").open("w", newline="") as handle:
        subjects = csv.writer(handle)
        subjects.writerow(["subject_id", "time", "event", "age", "grade"])
        for folder in folders:
            row = sheet.loc[folder.name]
            days = row["Time – diagnosis to last follow-up (days)"]
            status = STATUS[row["Status (NED, AWD, D)"].strip()]
            subjects.writerow([folder.name, days, status, row["Age"], row["Grade"]])
    with (cohort / "images.csv").open("w", newline="") as handle:
        images = csv.writer(handle)
        images.writerow(["subject_id", "modality", "path", "mask", "label"])
        for folder in folders:
            files = (folder.resolve() / "CT_image.nii.gz", folder.resolve() / "CT_mask.nii.gz")
            images.writerow([folder.name, "ct", *files, 1])
    print(f"{len(folders)} subjects written to {cohort}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
