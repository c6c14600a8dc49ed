"""The offline toolkit: a network with batch normalization in, a bundle out."""

import os

# See service/__init__.py: nothing may be written by the runtime unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
