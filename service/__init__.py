"""The HTTP service: reads bundles and answers requests; needs neither PyTorch nor ONNX."""

import os

__version__ = "0.1.0"

# ONNX Runtime opens a telemetry store in the user's cache folder while it is being imported, and
# complains where it cannot. Only this variable, set before that import, keeps it from doing so.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
