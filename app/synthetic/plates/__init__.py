"""Synthetic plates: crops with their texts, unlimited by seed, to train a plate reader before it sees real ones."""

from app.synthetic.plates.made import KINDS, MadePlate, placed_plate

__all__ = ["KINDS", "MadePlate", "placed_plate"]
