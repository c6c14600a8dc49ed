"""Operators of the float64 evaluation that ONNX's reference evaluator has slow, or has wrong.

Tested against PyTorch in float64.
"""

from training.fold.kernels.convolution import Conv, ConvTranspose
from training.fold.kernels.normalization import BatchNormalization
from training.fold.kernels.padding import Pad
from training.fold.kernels.pooling import AveragePool, GlobalMaxPool, MaxPool

KERNELS = (AveragePool, BatchNormalization, Conv, ConvTranspose, GlobalMaxPool, MaxPool, Pad)
