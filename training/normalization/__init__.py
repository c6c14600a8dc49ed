"""Normalization layers, each written out from its formula (docs/normalization.md)."""

from training.normalization.batch_norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    detached_batch_norm,
)
from training.normalization.choice import NORMS, replace_normalization
from training.normalization.decorrelated import DecorrelatedBatchNorm1d, DecorrelatedBatchNorm2d
from training.normalization.frozen import FrozenBatchNorm2d, freeze_batch_norms
from training.normalization.generalized import (
    GeneralizedBatchNorm1d,
    GeneralizedBatchNorm2d,
    L1BatchNorm1d,
    L1BatchNorm2d,
)
from training.normalization.ghost import GhostBatchNorm1d, GhostBatchNorm2d
from training.normalization.per_sample import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
)
from training.normalization.renormalization import BatchRenorm1d, BatchRenorm2d
from training.normalization.synchronized import SyncBatchNorm, synchronize
from training.normalization.weight import WeightNorm, weight_norm
from training.normalization.whitening import (
    CovarianceReport,
    color,
    covariance_report,
    decorrelate,
    standardize,
    whiten,
)

__all__ = [
    "NORMS",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchRenorm1d",
    "BatchRenorm2d",
    "CovarianceReport",
    "DecorrelatedBatchNorm1d",
    "DecorrelatedBatchNorm2d",
    "FrozenBatchNorm2d",
    "GeneralizedBatchNorm1d",
    "GeneralizedBatchNorm2d",
    "GhostBatchNorm1d",
    "GhostBatchNorm2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "L1BatchNorm1d",
    "L1BatchNorm2d",
    "LayerNorm",
    "SyncBatchNorm",
    "WeightNorm",
    "color",
    "covariance_report",
    "decorrelate",
    "detached_batch_norm",
    "freeze_batch_norms",
    "replace_normalization",
    "standardize",
    "synchronize",
    "weight_norm",
    "whiten",
]
