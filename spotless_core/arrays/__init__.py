"""Functions on numpy arrays: no torch, no files, no clock, no globals."""
