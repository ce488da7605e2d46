"""Every way an export can fail. The message is one sentence for the person at the terminal.

ExportError
├── UnknownRow          no such name in the catalogue (the sentence suggests close ones)
├── WeightsError        weights that cannot be had, or are not what the row says
│   └── SourceUnreachable   the hub or the package index does not answer: another source may do
├── GraphError          the network could not be turned into the graph contract
├── GateFailure         the graph exists and is wrong; lists every gate that refused it
└── RepositoryError     the entry could not be written
"""

from __future__ import annotations


class ExportError(Exception):
    """An export that did not happen, and why."""


class UnknownRow(ExportError):
    """The catalogue has no such row."""


class WeightsError(ExportError):
    """Weights are missing, damaged, or do not fit the network."""


class SourceUnreachable(WeightsError):
    """A source of weights does not answer; nothing is wrong with the row."""


class GraphError(ExportError):
    """The network has no graph that meets the contract."""


class RepositoryError(ExportError):
    """The repository folder refused the entry."""


class GateFailure(ExportError):
    """The exported graph was refused. `failures` holds every (gate, reason)."""

    def __init__(self, failures: tuple[tuple[str, str], ...]) -> None:
        super().__init__("refused by " + "; ".join(f"{gate}: {reason}" for gate, reason in failures))
        self.failures = failures
