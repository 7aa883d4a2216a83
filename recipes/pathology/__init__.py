"""Tiles of lung slides: normal tissue, adenocarcinoma, squamous cell carcinoma."""
