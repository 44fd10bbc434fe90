"""Reads the text of a plate's image: a light backbone, a sequence head, CTC or an attention decoder.

The image is cut into two rows of columns, upper row first, so that plates of one and of two lines are the same to
the head: a character of a single line may be read in either row.
"""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from models.ctc import Reading
from models.format_decoding import FormatPrior
from models.input_statistics import InputStatistics
from models.plate_views import Views, read_views

Decoder = Literal["ctc", "attention"]
_ROWS = 2
_HEADS = 4


class PlateOutput(NamedTuple):
    """What N images give."""

    sequence: Tensor  # (N, T, dim), what the scores are computed from
    logits: Tensor  # (N, T, A): frames of "ctc", positions of "attention"; A[0] is the blank or the end


class PlateReader(nn.Module):
    """Backbone, rows of columns, layers that let columns see each other, and scores of characters.

    Args:
        backbone: images (N, 3, H, W) to a feature map (N, C, h, w).
        num_features: C.
        num_characters: A, the characters and one more.
        statistics: that images are normalised with before they are given to `forward`.
        columns: of the sequence in each row; the feature map is resized to them.
        dim: width of the sequence, a multiple of 4.
        layers: of self-attention over both rows.
        decoder: "ctc" scores each column; "attention" asks for the character at each position, all at once.
        max_length: positions of "attention": characters and the end.

    Raises ValueError for another decoder."""

    def __init__(
        self,
        backbone: nn.Module,
        num_features: int,
        num_characters: int,
        statistics: InputStatistics,
        *,
        columns: int = 24,
        dim: int = 128,
        layers: int = 2,
        decoder: Decoder = "ctc",
        max_length: int = 12,
    ) -> None:
        super().__init__()
        if decoder not in get_args(Decoder):
            raise ValueError(f"unknown decoder {decoder!r}; known: {', '.join(get_args(Decoder))}")
        self.backbone = backbone
        self.statistics = statistics
        self.columns = columns
        self.decoder: Decoder = decoder
        self.reduction = nn.Linear(num_features, dim)
        self.places = nn.Parameter(0.5 * torch.randn(_ROWS * columns, dim))  # as large as what they are added to
        # timm's layers, not PyTorch's: these read weights that a hashed layer does not have. Without dropout, whose
        # random state a run that is resumed would have to know.
        blocks = [Block(dim, _HEADS, mlp_ratio=2, qkv_bias=True) for _ in range(layers)]
        self.sequence = nn.Sequential(*blocks, nn.LayerNorm(dim))
        self.questions = _Questions(dim, max_length) if decoder == "attention" else None
        self.head = nn.Linear(dim, num_characters)

    def forward(self, images: Tensor) -> PlateOutput:
        """Map images (N, 3, H, W) to the scores of characters."""
        maps = self.backbone(images)
        cells = F.adaptive_avg_pool2d(maps, (_ROWS, self.columns))  # (N, C, 2, columns)
        sequence = self.sequence(self.reduction(cells.flatten(2).transpose(1, 2)) + self.places)
        if self.questions is not None:
            sequence = self.questions(sequence)
        return PlateOutput(sequence, self.head(sequence))

    @torch.no_grad()
    def read(self, images: Tensor, prior: FormatPrior | None = None, views: Views = 1) -> list[Reading]:
        """The text of each plate.

        Args:
            images: (views * N, 3, H, W), one view of all plates after the other, as `views_of` gives them.
            prior: the formats of the plates' country; None where it is not known. For "ctc" only.

        Raises RuntimeError in training mode."""
        if self.training:
            raise RuntimeError("read needs a network in evaluation mode: call eval() first")
        logits = self(images).logits.unflatten(0, (views, -1))
        return read_views(logits, positions=self.decoder == "attention", prior=prior)


class _Questions(nn.Module):
    """Asks a sequence for the character at each position: cross-attention with learnt queries, then a perceptron.

    Of linear layers, which can be hashed, where the matrices of `nn.MultiheadAttention` cannot."""

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(positions, dim))
        self.keys_and_values = nn.Linear(dim, 2 * dim)
        self.joined = nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, sequence: Tensor) -> Tensor:
        """Map (N, T, dim) to (N, positions, dim)."""
        number = len(sequence)
        parts = (self.queries.expand(number, -1, -1), *self.keys_and_values(sequence).chunk(2, dim=2))
        queries, keys, values = (part.unflatten(2, (_HEADS, -1)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        answers = self.queries + self.joined(found)
        return answers + self.perceptron(answers)
