"""A cohort from the Genomic Data Commons (GDC) and The Cancer Imaging Archive (TCIA)."""
