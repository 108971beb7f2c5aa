"""The review desk: where people decide, each alone and by signature."""
