"""Settings of data equalisation, `data.equalise`."""

from dataclasses import field
from typing import Annotated, Literal, get_args

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.section import AtLeastOne, NotNegative, PathText, Share, section

Kind = Literal["geometry", "colour", "blur", "rain", "night", "occlusion"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]


@section("data.equalise")
class EqualiseSettings:
    """A step before training, on each client's own images; off while `target` is empty and suspects stay.

    Images are counted per vehicle, in a set with infrared images per vehicle and modality.

    Args:
        target: images of a vehicle in an epoch: "median" or "quantile" of the counts, or a number; "auto" for 2 where
            vehicles have few (`app.data.sampler.target_count`), without downsampling; "" for as many as it has.
        quantile: of "quantile".
        fill: whether vehicles below the target are filled with enhanced images.
        sample_down: whether vehicles above the target are downsampled to it in each epoch; all images take turns.
        model: the pre-model: "own" is trained on the client's images first, "global" is the network that the client
            has when it first trains, from round `from_round` on; or a checkpoint of this network, a .safetensors file.
        from_round: the round from which a federation's clients have enhanced images and leave suspects out.
        own_epochs: epochs of "own"; 0 for those of the run.
        library: of the network's embeddings by which images are compared; "" for the last.
        base: an image is a base image if its cosine to its vehicle's centre is above this.
        base_quantile: the same as a quantile of all cosines, in place of `base`; null for none.
        kinds: of enhancement.
        interval: lowest and highest cosine to the centre of an enhanced image, both excluded.
        candidates: images rendered for each missing one.
        suspects: treatment of images with a probably wrong label: "report", or "leave_out" of training; a vehicle never
            loses its last image.
        suspect_margin: how much nearer than its own vehicle's other images another vehicle's centre has to be.
        suspect_below: how far below `base` an image's cosine to the others has to be, whatever else is near.
        folder: of enhanced images and reports; a node has its own.
    """

    target: Literal["", "median", "quantile", "auto"] | AtLeastOne = ""
    quantile: Share = 0.75
    fill: bool = True
    sample_down: bool = True
    model: PathText = "own"
    from_round: AtLeastOne = 1
    own_epochs: NotNegative = 0.0
    library: str = ""
    base: _Cosine = 0.65
    base_quantile: Share | None = None
    kinds: list[Kind] = field(default_factory=lambda: list(KINDS))
    interval: list[float] = field(default_factory=lambda: [0.5, 0.97])
    candidates: AtLeastOne = 3
    suspects: Literal["report", "leave_out"] = "report"
    suspect_margin: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.15
    suspect_below: Annotated[float, Field(ge=0.0, le=2.0)] = 0.3
    folder: PathText = "outputs/equalised"

    def __post_init__(self) -> None:
        if self.fill and not self.kinds:
            raise SettingsError(
                "data.equalise.kinds is empty: nothing can be enhanced; data.equalise.fill=false turns it off"
            )
        if len(self.interval) != 2 or not -1 <= self.interval[0] < self.interval[1] <= 1:
            raise SettingsError(f"data.equalise.interval must be two ascending cosines; got {self.interval}")

    @property
    def on(self) -> bool:
        """Whether images have to be embedded; downsampling alone needs no embeddings."""
        return (bool(self.target) and self.fill) or self.suspects == "leave_out"
