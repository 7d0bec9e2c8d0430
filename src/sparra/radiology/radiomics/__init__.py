"""Hand-crafted features by the definitions of the Image Biomarker Standardisation Initiative (IBSI)."""
