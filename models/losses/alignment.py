"""Alignment of a reader's columns with the characters of a rendered plate, whose places are known."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.precision import at_least_float32


class AlignmentLoss(nn.Module):
    """Cross-entropy of the frames of CTC against an alignment that is known.

    L = (mean over frames with a character of -ln p(character) + mean over all others of -ln p(blank)) / 2: most frames
    are blank, and counted alike they would drown the characters. Where no alignment is known, as for photographs, CTC's
    sum over all alignments is to be used; from random values that alone takes hundreds of thousands of plates to begin
    to read, since at first every alignment is as bad as the next."""

    def forward(self, logits: Tensor, texts: Sequence[Sequence[int]], frames: Sequence[Sequence[int]]) -> Tensor:
        """Map logits (N, T, A), A[0] the blank, N texts of numbers from 1 and the frame of each character to a scalar.

        A text with an empty list of frames does not count; zero, still differentiable, if none does. Raises ValueError
        for another number of frames than characters."""
        targets = torch.zeros(logits.shape[:2], dtype=torch.long)
        known = torch.zeros(len(texts), dtype=torch.bool)
        for row, (text, places) in enumerate(zip(texts, frames, strict=True)):
            if not places:
                continue
            if len(places) != len(text):
                raise ValueError(f"{len(places)} frames of a text of {len(text)} characters")
            targets[row, list(places)] = torch.tensor(list(text))
            known[row] = True
        if not known.any():
            return logits.sum() * 0.0
        targets, known = targets.to(logits.device), known.to(logits.device)
        wanted = targets[known].flatten()
        each = F.cross_entropy(at_least_float32(logits[known]).flatten(0, 1), wanted, reduction="none")
        blank = wanted == 0
        parts = [each[chosen].mean() for chosen in (~blank, blank) if chosen.any()]
        return torch.stack(parts).sum() / 2
