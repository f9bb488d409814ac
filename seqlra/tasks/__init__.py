"""A data set as mini-batches on the device, with its metric."""
