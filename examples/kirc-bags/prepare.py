"""Write the tables of the 492 TCGA-KIRC cases of HIPT: `python prepare.py ../../../shared/data/hipt-rcc`."""

import csv
import shutil
import sys
from pathlib import Path

import pandas as pd


def main(data: Path) -> None:
    cohort = Path(__file__).parent / "cohort"
    cohort.mkdir(exist_ok=True)
    table = pd.read_csv(data / "tcga_kirc_kich.csv")
    table = table[table["oncotree_code"] == "CCRCC"].sort_values(["case_id", "slide_id"])
    cases = table.drop_duplicates("case_id")
    with (cohort / "subjects.csv").open("w", newline="") as handle:
        subjects = csv.writer(handle)
        subjects.writerow(["subject_id", "time", "event", "age", "is_female", "site"])
        for case in cases.itertuples():
            # The source codes the opposite of an event: censorship 1 is censored.
            event = int(1 - case.censorship)
            subjects.writerow([case.case_id, case.survival_months, event, case.age, case.is_female, case.site])
    with (cohort / "images.csv").open("w", newline="") as handle:
        images = csv.writer(handle)
        images.writerow(["subject_id", "modality", "path"])
        for case_id, slide_id in zip(table["case_id"], table["slide_id"], strict=True):
            bag = data.resolve() / "bags" / f"{slide_id.removesuffix('.svs')}.pt"
            images.writerow([case_id, "slide", bag])
    shutil.copytree(data / "splits", cohort / "splits", dirs_exist_ok=True)
    print(f"{len(cases)} subjects with {len(table)} slides written to {cohort}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
