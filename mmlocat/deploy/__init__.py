"""Models that leave Python: ONNX files, checked, and their int8 versions, measured."""
