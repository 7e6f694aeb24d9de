"""The names in a packed data set's folder, for what packs it and what reads it."""

RECORD = "dataset.json"  # describes the set; written last
SPLITS = ("train", "validation", "test")
