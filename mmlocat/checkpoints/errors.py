"""Defines the error that reading and fitting checkpoints raises."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, is refused, or does not fit; the message names it and what to do."""
