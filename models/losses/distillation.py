"""Bidirectional distillation between the logits of two networks (patent CN113326768B)."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class BidirectionalDistillationLoss(nn.Module):
    """Each network learns the other's softened label distribution; no gradient is held back.

    L = 0.5 T^2 KL(G1 || G2) + 0.5 T^2 KL(G2 || G1), G = softmax(logits / T), KL(P || Q) = sum_c P_c log(P_c / Q_c),
    the mean over the batch. T^2 keeps the gradient's size as T grows (Hinton et al., 2015, arXiv:1503.02531, Sec. 2).

    Args:
        temperature: T, above 0. Raises ValueError otherwise.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def forward(self, vehicle_logits: Tensor, plate_logits: Tensor) -> Tensor:
        """Map logits (N, C) of the same images and labels to a scalar; zero, still differentiable, if N = 0.

        Cosines must be multiplied by their classification loss's scale first. Raises ValueError if shapes differ."""
        if vehicle_logits.shape != plate_logits.shape:
            raise ValueError(f"logits differ in shape: {tuple(vehicle_logits.shape)} and {tuple(plate_logits.shape)}")
        log_g1 = F.log_softmax(at_least_float32(vehicle_logits) / self.temperature, dim=1)
        log_g2 = F.log_softmax(at_least_float32(plate_logits) / self.temperature, dim=1)
        if not len(log_g1):
            return (log_g1 + log_g2).sum()
        # kl_div(input, target) is KL(target || input)
        forward = F.kl_div(log_g2, log_g1, log_target=True, reduction="batchmean")
        backward = F.kl_div(log_g1, log_g2, log_target=True, reduction="batchmean")
        return 0.5 * self.temperature**2 * (forward + backward)
