"""Data sets as mini-batches on the device, with their metrics."""
