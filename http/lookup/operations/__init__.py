"""The state of the whole system: health, snapshots, workers, owners and rates."""
