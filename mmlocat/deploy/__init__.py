"""Exports models to ONNX, converts weights between layouts and prepares checkpoints to publish, each with a check."""

LAYOUTS = ('mmlocat', 'mmpretrain', 'timm', 'hub')  # that ``convert`` writes
