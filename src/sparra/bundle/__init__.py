"""Model bundles: a trained model carried away, checked, and used on new patients; see docs/prediction.md."""
