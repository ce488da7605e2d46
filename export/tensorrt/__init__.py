"""ONNX entry → TensorRT plan in its place, on the host whose GPU will serve it."""
