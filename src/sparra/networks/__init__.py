"""Networks of published encoders, free of any domain: images in, tokens or features out."""
