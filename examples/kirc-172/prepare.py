"""Write the tables of the TCGA-KIRC patients that have a slide bag, a CT and overall survival.

`python prepare.py DATA`, where DATA holds `hipt-rcc` and `tcga-clinical`.
"""

import csv
import sys
from pathlib import Path

import pandas as pd

COVARIATES = {
    "age": "age_at_initial_pathologic_diagnosis",
    "sex": "gender",
    "stage": "ajcc_pathologic_tumor_stage",
    "grade": "histological_grade",
}


def main(data: Path) -> None:
    cohort = Path(__file__).parent / "cohort"
    cohort.mkdir(exist_ok=True)
    clinical = pd.read_excel(data / "tcga-clinical" / "TCGA-CDR-SupplementalTableS1.xlsx", sheet_name="TCGA-CDR")
    clinical = clinical[clinical["type"] == "KIRC"].set_index("bcr_patient_barcode")
    # A patient without a follow-up above zero cannot be used.
    clinical = clinical[clinical["OS"].notna() & (clinical["OS.time"] > 0)]
    with_ct = set(pd.read_csv(data / "tcga-clinical" / "mmist_ct_cases.csv")["case_id"])
    slides = pd.read_csv(data / "hipt-rcc" / "tcga_kirc_kich.csv")
    slides = slides[slides["oncotree_code"] == "CCRCC"].sort_values(["case_id", "slide_id"])
    slides = slides.assign(bag=[data.resolve() / "hipt-rcc" / "bags" / f"{s[:-4]}.pt" for s in slides["slide_id"]])
    slides = slides[slides["case_id"].isin(with_ct) & slides["case_id"].isin(clinical.index)]
    slides = slides[[bag.exists() for bag in slides["bag"]]]
    cases = sorted(slides["case_id"].unique())
    with (cohort / "subjects.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["subject_id", "time", "event", *COVARIATES])
        for case in cases:
            row = clinical.loc[case]
            table.writerow([case, row["OS.time"], int(row["OS"]), *(row[name] for name in COVARIATES.values())])
    with (cohort / "images.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["subject_id", "modality", "path"])
        table.writerows([case, "slide", bag] for case, bag in zip(slides["case_id"], slides["bag"], strict=True))
    deaths = int(clinical.loc[cases, "OS"].sum())
    print(f"{len(cases)} subjects, {deaths} deaths, {len(slides)} slides written to {cohort}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
