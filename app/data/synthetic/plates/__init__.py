"""Made plates: crops with their texts, unlimited by seed, to train a reader of plates on before it sees real ones."""

from app.data.synthetic.plates.made import KINDS, made_plate

__all__ = ["KINDS", "made_plate"]
