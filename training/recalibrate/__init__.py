"""Re-calibration: a new version of a bundle, with statistics of other images.

`estimate` re-estimates them layer by layer; `unfold` puts layers back where a bundle keeps only the
folded network; `guards` say when not to; `version` does it all and writes. ONNX and NumPy only. See
docs/recalibration.md.
"""

from training.recalibrate.estimate import PRIOR, Change, Estimate, estimate
from training.recalibrate.version import Data, Order, recalibrate

__all__ = ["PRIOR", "Change", "Data", "Estimate", "Order", "estimate", "recalibrate"]
