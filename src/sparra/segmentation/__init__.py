"""Kidney-tumour segmentation: training and applying a SegResNet, and the review of masks, whoever made them."""
