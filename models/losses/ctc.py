"""Connectionist temporal classification (Graves et al., ICML 2006)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class CtcLoss(nn.Module):
    """Minus the logarithm of the probability of a text over all its alignments (Graves et al., ICML 2006, Eq. 8).

    L = mean over the texts of -ln p(text | frames) / max(1, characters), so that long plates do not count more. A text
    that does not fit into the frames counts 0: no alignment gives it, and nothing can be learnt from it."""

    def forward(self, logits: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Map logits (N, T, A), A[0] the blank, and N texts of numbers from 1 to a scalar.

        Raises ValueError for a text without characters or of another number."""
        require_texts(logits, texts)
        frames = at_least_float32(logits).log_softmax(dim=2).transpose(0, 1)  # (T, N, A)
        lengths = torch.tensor([len(text) for text in texts])
        targets = torch.tensor([number for text in texts for number in text], device=logits.device)
        full = torch.full((len(texts),), logits.shape[1])
        return F.ctc_loss(frames, targets, full, lengths, zero_infinity=True)


def require_texts(logits: Tensor, texts: Sequence[Sequence[int]]) -> None:
    """Raise ValueError unless there is a text of at least one character for each row of scores."""
    if len(texts) != len(logits) or not all(texts):
        raise ValueError(f"{len(logits)} rows of scores need as many texts with at least one character each")
