"""A client's reply to a training or evaluation message: written by the client, read and checked by the server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from strategies import messages as m
from strategies.claims import checked_measures


@dataclass(frozen=True)
class RoundReply:
    """Result of a client's `fit` or `evaluate`, with the client's description afterwards.

    Args:
        measures: numbers by name.
        info: result of `get_properties`, with the number of examples; empty if the server does not read it.
        update: the encrypted update; empty for an evaluation.
    """

    measures: Mapping[str, float]
    info: Mapping[str, Any] = field(default_factory=dict)
    update: bytes = b""

    @classmethod
    def of(
        cls,
        num_examples: int,
        measures: Mapping[str, float],
        properties: Mapping[str, Any],
        update: NDArray[np.uint8] | None = None,
    ) -> "RoundReply":
        """From the return values of Flower's client methods."""
        return cls(
            measures, {**properties, m.NUM_EXAMPLES: num_examples}, b"" if update is None else m.bytes_behind(update)
        )

    def content(self) -> RecordDict:
        """As the content of a message."""
        content = RecordDict(
            {m.INFO: ConfigRecord(dict(self.info)), m.MEASURES: MetricRecord(dict(self.measures))},
        )
        if self.update:
            content[m.UPDATE] = m.bytes_record(m.UPDATE, self.update)
        return content

    @classmethod
    def trained(cls, content: RecordDict, task_measures: Sequence[str]) -> "RoundReply":
        """The reply to a training message. Raises MessageError for a part that is missing, a measure that is unknown or
        outside its range, or any other array than the update."""
        measures = cls.evaluated(content, task_measures).measures
        return cls(measures, m.config_of(content, m.INFO), m.bytes_of(content, m.UPDATE))

    @classmethod
    def evaluated(cls, content: RecordDict, task_measures: Sequence[str]) -> "RoundReply":
        """The measures of a reply. Raises MessageError for one that is unknown or outside its range."""
        return cls(checked_measures(content.metric_records.get(m.MEASURES, MetricRecord()), task_measures))
