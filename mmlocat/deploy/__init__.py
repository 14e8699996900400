"""Models and weights that leave: ONNX files, other layouts of weights, checkpoints to publish; each is checked."""
