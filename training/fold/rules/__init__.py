"""The rules, in the order in which they are tried. One idea per file; none knows another."""

from training.fold.rules.base import Rule
from training.fold.rules.conv import ConvBatchNormalization
from training.fold.rules.gemm import GemmBatchNormalization
from training.fold.rules.matmul import MatMulBatchNormalization

RULES: tuple[Rule, ...] = (
    ConvBatchNormalization(),
    GemmBatchNormalization(),
    MatMulBatchNormalization(),
)
