"""Which of their compiled kernels the libraries pick on this processor: their last bits differ."""

from __future__ import annotations

import platform

import cv2

_WIDEST_FIRST = (("AVX512-SKX", "avx512"), ("AVX2", "avx2"), ("AVX", "avx"))


def cpu_kernels() -> str:
    """Architecture and widest vector instructions, for example "x86_64-avx512".

    ONNX Runtime, torch and OpenCV choose by these levels and not by the model of the processor, so two
    machines of one level run the same code.
    """
    found = cv2.getCPUFeaturesLine().replace("*", "").split()  # a name that ends in "?" is not there
    level = next((name for feature, name in _WIDEST_FIRST if feature in found), None)
    return f"{platform.machine()}-{level}" if level else platform.machine()
