"""The ONNX Model Zoo as a hub."""
