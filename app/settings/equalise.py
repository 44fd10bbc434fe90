"""Settings of data equalisation, `data.equalise`."""

from dataclasses import dataclass, field

from app.settings.checks import SettingsError, in_range, one_of, require_path

KINDS = ("geometry", "colour", "blur", "rain", "night", "occlusion")
RULES = ("median", "quantile")
SUSPECTS = ("report", "leave_out")


@dataclass(frozen=True)
class EqualiseSettings:
    """A step before training, on each client's own pictures; off while `target` is empty and suspects stay.

    Counts are of a vehicle, and where a set has infrared pictures of a vehicle and modality.

    Args:
        target: pictures that a vehicle is to have in a pass: "median" or "quantile" of the counts, or a number; "" for
            as many as it has.
        quantile: of "quantile".
        fill: whether vehicles below the target are filled with enhanced pictures.
        sample_down: whether vehicles above the target show no more than it in a pass; all pictures take their turn.
        model: the pre-model: "own" is trained on the client's pictures first, "global" is the network that the client
            has when it first trains, from round `from_round` on; or a checkpoint of this network, a .safetensors file.
        from_round: the round from which a federation's clients have enhanced pictures and leave suspects out.
        own_epochs: passes of "own"; 0 for those of the run.
        library: by which of the network's embeddings pictures are compared; "" for the last.
        base: a picture is a base picture if its cosine to its vehicle's centre is above this.
        base_quantile: the same as a quantile of all cosines, in place of `base`; null for none.
        kinds: of enhancement.
        interval: lowest and highest cosine to the centre of an enhanced picture, both excluded.
        candidates: pictures drawn for each that is wanted.
        suspects: what becomes of pictures whose label is probably wrong: "report", or "leave_out" of training; a
            vehicle never loses its last picture.
        suspect_margin: how much nearer than its own vehicle's other pictures another vehicle's centre has to be.
        suspect_below: how far below `base` a picture's cosine to the others has to be, whoever else is near.
        folder: where enhanced pictures and reports are kept; a node has its own.
    """

    target: str | int = ""
    quantile: float = 0.75
    fill: bool = True
    sample_down: bool = True
    model: str = "own"
    from_round: int = 1
    own_epochs: float = 0.0
    library: str = ""
    base: float = 0.65
    base_quantile: float | None = None
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    interval: list[float] = field(default_factory=lambda: [0.5, 0.97])
    candidates: int = 3
    suspects: str = "report"
    suspect_margin: float = 0.15
    suspect_below: float = 0.3
    folder: str = "outputs/equalised"

    def __post_init__(self) -> None:
        if isinstance(self.target, int):
            in_range("data.equalise.target", self.target, 1)
        elif self.target:
            one_of("data.equalise.target, if it is no number,", self.target, RULES)
        in_range("data.equalise.quantile", self.quantile, 0.0, 1.0)
        require_path("data.equalise.model", self.model)
        require_path("data.equalise.folder", self.folder)
        in_range("data.equalise.from_round", self.from_round, 1)
        in_range("data.equalise.own_epochs", self.own_epochs, 0.0)
        in_range("data.equalise.base", self.base, -1.0, 1.0)
        if self.base_quantile is not None:
            in_range("data.equalise.base_quantile", self.base_quantile, 0.0, 1.0)
        for kind in self.kinds:
            one_of("data.equalise.kinds", kind, KINDS)
        if self.fill and not self.kinds:
            raise SettingsError(
                "data.equalise.kinds is empty: nothing can be enhanced; data.equalise.fill=false says so"
            )
        if len(self.interval) != 2 or not -1 <= self.interval[0] < self.interval[1] <= 1:
            raise SettingsError(f"data.equalise.interval must be two ascending cosines; got {self.interval}")
        in_range("data.equalise.candidates", self.candidates, 1)
        one_of("data.equalise.suspects", self.suspects, SUSPECTS)
        in_range("data.equalise.suspect_margin", self.suspect_margin, -2.0, 2.0)
        in_range("data.equalise.suspect_below", self.suspect_below, 0.0, 2.0)

    @property
    def on(self) -> bool:
        """Whether pictures have to be embedded; sampling down alone does without."""
        return (bool(self.target) and self.fill) or self.suspects == "leave_out"
