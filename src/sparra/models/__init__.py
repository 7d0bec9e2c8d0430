"""Aggregators (mean, ABMIL, SPARRA), the variational objective and the Cox loss: tensors in, tensors out."""
