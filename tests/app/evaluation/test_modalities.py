"""Directions from one modality to the other."""

from pathlib import Path

from app.core.sample import Sample
from app.data.readers.reader import Direction
from app.evaluation.modalities import across_modalities

VISIBLE = tuple(Sample(Path(f"v{i}.png"), i, 0) for i in range(3))
INFRARED = tuple(Sample(Path(f"i{i}.png"), i, 1, modality="infrared") for i in range(3))


def test_a_mixed_direction_is_cut_in_two():
    mixed = Direction("query_to_gallery", (*VISIBLE[:1], *INFRARED[:2]), (*VISIBLE, *INFRARED))
    first, second = across_modalities([mixed])
    assert first == Direction("infrared_to_visible", INFRARED[:2], VISIBLE)
    assert second == Direction("visible_to_infrared", VISIBLE[:1], INFRARED)
    assert [each.name for each in across_modalities([mixed, mixed])][:2] == [
        "query_to_gallery/infrared_to_visible",
        "query_to_gallery/visible_to_infrared",
    ]


def test_a_direction_across_stays_and_one_within_a_modality_goes():
    across = Direction("draw-3", INFRARED, VISIBLE)
    assert across_modalities([across, Direction("by day", VISIBLE, VISIBLE)]) == [across]
    assert across_modalities([Direction("none", (), VISIBLE), Direction("nothing", INFRARED, ())]) == []
    assert across_modalities([Direction("half", INFRARED, (*VISIBLE, *INFRARED))]) == [
        Direction("infrared_to_visible", INFRARED, VISIBLE)
    ]
