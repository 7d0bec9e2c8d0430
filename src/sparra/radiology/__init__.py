"""CT and masks: reading, resampling, regions of interest, patches, encoders."""
