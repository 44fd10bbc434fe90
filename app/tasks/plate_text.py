"""Reading of plates: FedOCR (arXiv:2007.11462) for licence plates, a light network whose large layers may be hashed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.core.device import Compute, make_compute
from app.core.errors import MissingPackageError
from app.core.sample import Sample
from app.data.crops import make_image_reader
from app.data.plate_batches import MakePlate, PlateBatch, PlateBatches
from app.data.readers.errors import DataSetError
from app.data.readers.reader import Direction, by_alphabet
from app.evaluation.matches import Counts
from app.evaluation.plate_texts import PlateReading, measure_directions
from app.settings.checks import SettingsError, one_of
from app.settings.load import Settings
from app.settings.plate_text import LossSettings, ModelSettings
from app.tasks.plate_network import columns_of, make_plate_reader, require_start
from app.tasks.task import Batches, Evaluation, Graph, UnfitDataError
from models.alphabet import Alphabet, plain
from models.backbone import input_statistics_of
from models.ctc import Reading
from models.embedding_graph import Run
from models.format_decoding import FormatPrior
from models.losses import AlignmentLoss, CtcLoss, PositionLoss
from models.plate_formats import COUNTRIES
from models.plate_graph import INPUT, OUTPUT, OutsidePlateReader, PlateGraph
from models.plate_reader import PlateReader
from models.plate_views import views_of


class PlateText:
    """The task. Implements `Task`."""

    name = "plate_text"
    heads: tuple[str, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model: ModelSettings = settings.model
        self.loss: LossSettings = settings.loss
        train = settings.train
        self.compute: Compute = make_compute(settings.device, train.precision, train.channels_last, train.threads)
        size = self.model.height, self.model.width
        self.image_reader = make_image_reader(settings.data, size, size, rectify=True)
        self.alphabet = Alphabet()
        self._criterion = CtcLoss() if self.model.decoder == "ctc" else PositionLoss(self.loss.label_smoothing)
        self._alignment = AlignmentLoss()
        self._priors: dict[str, FormatPrior] = {}

    @property
    def remarks(self) -> dict[str, str]:
        share = self.settings.data.made_plates.share
        return {"rendered plates": f"{100 * share:g} % of a batch"} if share else {}

    @property
    def bad_images(self) -> dict[str, str]:
        return dict(self.image_reader.bad)

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those with a plate and a text that the alphabet can write and the decoder has room for."""
        written, _ = by_alphabet([sample for sample in samples if sample.has_plate], self.alphabet)
        if self.model.decoder == "ctc":
            return written
        return [sample for sample in written if len(plain(sample.plate_text or "")) <= self.model.max_length]

    def num_labels(self, samples: Sequence[Sample]) -> int:
        """1, as there is no classifier of vehicles. Raises ValueError if no plate has a text that can be learnt."""
        if not self.learnable(samples):
            raise UnfitDataError(f"none of {len(samples)} images has a plate with a text that can be learnt")
        return 1

    def build(self, num_labels: int, seed: int, *, pretrained: bool = True) -> PlateReader:
        """The network in training mode."""
        del num_labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = make_plate_reader(self.model, len(self.alphabet), pretrained=pretrained)
        self.compute.place(network)
        return network.train()

    def batches(self, samples: Sequence[Sample], seed: int) -> Batches:
        """Real plates, each once in an epoch, and the made ones that the settings ask for.

        Raises ValueError where no plate can be learnt, where plates to be made have no font, and SettingsError for an
        unknown kind of them; NamedFileError where the checkpoint to start from is not there."""
        self.num_labels(samples)
        if self.model.start:
            require_start(self.model.start)
        train, made = self.settings.train, self.settings.data.made_plates
        return PlateBatches(
            self.learnable(samples),
            self.image_reader,
            encode=lambda text: self.alphabet.encode(plain(text)),
            columns=columns_of(self.model),
            batch_size=train.batch_size or train.pids_per_batch * train.images_per_pid,
            made_share=made.share,
            make=_maker(made.kinds, made.photographs) if made.share else None,
            seed=seed,
            augment=train.augment,
        )

    def losses(self, network: nn.Module, batch: PlateBatch) -> dict[str, Tensor]:
        """The loss of the decoder, and of CTC the one of alignment where a batch has rendered plates."""
        with self.compute.autocast():
            logits = network(self._input(network, batch.plates)).logits
        parts = {"text": self._criterion(logits, batch.texts)}
        weight = self.loss.alignment_weight if self.model.decoder == "ctc" else 0.0
        if weight and any(batch.frames):
            parts["alignment"] = weight * self._alignment(logits, batch.texts, batch.frames)
        parts["total"] = torch.stack(list(parts.values())).sum()
        return parts

    def set_heads(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> None:
        """Nothing: characters have no centres."""

    def probe(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Means of the sequence (N, dim) over its places, L2-normalised."""
        found = [torch.zeros(0, self.model.dim)]
        was_training = network.training
        network.eval()
        for _, images in self._read_in_parts(samples):
            with torch.no_grad(), self.compute.autocast():
                sequence = network(self._input(network, images.to(device))).sequence
            found.append(nn.functional.normalize(sequence.float().mean(dim=1)).cpu())
        network.train(was_training)
        return torch.cat(found)

    @property
    def unmatched(self) -> str:
        return "has a plate with a text"

    def countable(self, directions: Sequence[Direction]) -> dict[str, Counts]:
        """A "query" is an image, "matched" one with a plate and its text; nothing is compared with a gallery."""
        found = {}
        for each in directions:
            samples = dict.fromkeys((*each.query, *each.gallery))
            legible = sum(bool(s.has_plate and plain(s.plate_text or "")) for s in samples)
            found[each.name] = Counts(len(samples), 0, legible, 0)
        return found

    def evaluate(self, network: nn.Module, directions: Sequence[Direction], device: torch.device) -> Evaluation:
        """`measure_directions` of what the network reads."""
        measures, rows = measure_directions(lambda samples: self.read(network, samples, device), directions)
        return Evaluation(measures, rows, self.bad_images)

    def ranked_lists(
        self, network: nn.Module, direction: Direction, device: torch.device, path: Path, count: int, seed: int
    ) -> None:
        """What was read from `count` plates, sampled by the seed, and accuracy of all against the share kept."""
        from app.evaluation.plate_figures import readings_picture  # matplotlib takes seconds to import

        samples = [s for s in dict.fromkeys(direction.query) if plain(s.plate_text or "") and s.has_plate]
        found = zip(samples, self.read(network, samples, device), strict=True)
        read = [(sample, reading) for sample, reading in found if reading is not None]
        if read:
            shown = np.random.default_rng(seed).permutation(len(read))[:count]
            readings_picture(read, sorted(shown.tolist()), self.image_reader, path, title=direction.name)

    def read(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> list[PlateReading | None]:
        """The text of each sample's plate; None without a plate or where its image cannot be read, as `bad_images`
        then says. A network in training mode is put back into it."""
        found: dict[int, PlateReading] = {}
        for places, images in self._read_in_parts(samples):
            found |= zip(places, self.read_images(network, images, device), strict=True)
        return [found.get(place) for place in range(len(samples))]

    def read_images(
        self, network: nn.Module, images: Tensor, device: torch.device, country: str = ""
    ) -> list[PlateReading]:
        """The text of each image (N, 3, H, W) uint8 of the task's size, at once; the network as in `read`.

        Args:
            country: whose formats the plates have, of `models.plate_formats.COUNTRIES`; "" where it is not known.
                Raises SettingsError for another one, or if the network cannot use formats.
        """
        assert isinstance(network, PlateReader)
        was_training = network.training
        network.eval()
        seen = self._input(network, views_of(images.to(device), self.model.views))  # moved in float32
        with self.compute.autocast():
            readings = network.read(seen, self._prior(country), self.model.views)
        network.train(was_training)
        return [self._reading(reading) for reading in readings]

    @property
    def uses_formats(self) -> bool:
        """Whether the network can read with the formats of a country."""
        return self.model.decoder == "ctc"

    def _prior(self, country: str) -> FormatPrior | None:
        if not country:
            return None
        one_of("country", country, tuple(COUNTRIES))
        if not self.uses_formats:
            raise SettingsError(f"country={country} needs a reader with model.decoder=ctc")
        if country not in self._priors:
            self._priors[country] = FormatPrior(country, self.alphabet)
        return self._priors[country]

    def _reading(self, reading: Reading) -> PlateReading:
        decode = self.alphabet.decode
        likely = tuple({decode([number]): share for number, share in each.items()} for each in reading.likely)
        return PlateReading(decode(reading.numbers), tuple(reading.confidences), likely)

    def graph(self, network: nn.Module) -> Graph:
        """Normalised plates (N, 3, H, W), float32, to the scores (N, T, A) of characters; see `PlateGraph`. The network
        is in evaluation mode and on the CPU."""
        assert isinstance(network, PlateReader)
        plates = torch.zeros(2, 3, self.model.height, self.model.width)
        return Graph(PlateGraph(network), {INPUT: plates}, (OUTPUT,))

    def outside(self, run: Run) -> OutsidePlateReader:
        """A network for `read` and `read_images` alone, whose `graph` is computed by `run`. None has to be built."""
        return OutsidePlateReader(run, input_statistics_of(self.model.backbone), self.model.decoder)

    def _read_in_parts(self, samples: Sequence[Sample]) -> Iterator[tuple[list[int], Tensor]]:
        """Places in `samples` and images, no more at once than an evaluation takes; each is read in all its views."""
        places: list[int] = []
        images: list[Tensor] = []
        for place, sample in enumerate(samples):
            image = self.image_reader.plate(sample)
            if image is not None:
                places.append(place)
                images.append(image)
            if len(places) == self.settings.evaluation.batch_size or (places and place == len(samples) - 1):
                yield places, torch.stack(images)
                places, images = [], []

    def _input(self, network: nn.Module, images: Tensor) -> Tensor:
        assert isinstance(network, PlateReader)
        return self.compute.as_input(images, network.statistics)


def make_task(settings: Settings) -> PlateText:
    """The task for these settings. Raises ValueError naming what cannot be built."""
    return PlateText(settings)


def _maker(kinds: Sequence[str], photographs: float) -> MakePlate:
    """Draws plates of these kinds, of all if there are none. Raises SettingsError for an unknown one, ValueError where
    one has no font."""
    from app.synthetic.plates import KINDS, placed_plate  # the drawing library and fonts, which few runs need

    for kind in kinds:
        one_of("data.made_plates.kinds", kind, KINDS)
    chosen = tuple(kinds) or KINDS
    try:
        for kind in chosen:
            placed_plate(np.random.default_rng(0), (kind,))
    except MissingPackageError as error:
        raise DataSetError(f"data.made_plates: {error}") from error
    return lambda rng: placed_plate(rng, chosen, photographs=photographs)
