"""Reading ONNX models: files, shapes, and the translation of each operator."""
