"""Cross-entropy of a text's positions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.ctc import require_texts
from models.precision import at_least_float32


class PositionLoss(nn.Module):
    """Mean cross-entropy of the characters and of the end behind them; what follows the end does not count."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Map logits (N, L, A), A[0] the end, and N texts of numbers from 1 to a scalar.

        Raises ValueError for a text without characters or of more than L."""
        require_texts(logits, texts)
        positions = logits.shape[1]
        if longest := max((len(text) for text in texts if len(text) > positions), default=0):
            raise ValueError(f"a text of {longest} characters, and {positions} positions")
        ignored = -100
        rows = [[*text, 0, *[ignored] * positions][:positions] for text in texts]
        targets = torch.tensor(rows, device=logits.device)
        flat = at_least_float32(logits).flatten(0, 1)
        return F.cross_entropy(flat, targets.flatten(), ignore_index=ignored, label_smoothing=self.label_smoothing)
