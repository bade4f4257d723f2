"""Measured values, one per row, and lookups among them."""

from dataclasses import asdict, dataclass, field
from statistics import median

MB = 1e6

ALONE, NAMELESS, ADDED = "raw / stored, alone", "alone, no suffix", "added to those above"
PAIR, REAL_PAIR = "fine-tune, no suffix", "MiniLM fine-tune, no suffix"
TOGETHER, TOGETHER_NAMELESS = "all / safetensors alone", "the same, no suffix"
"""Names of the measures of containers."""


@dataclass(frozen=True)
class Row:
    """One value; `group` is its table."""

    group: str
    case: str
    system: str
    metric: str
    value: float
    unit: str

    def spell(self) -> str:
        """Return the value as tables show it."""
        if self.unit == "bytes":
            return f"{self.value / MB:,.1f} MB"
        if self.unit == "x":
            return f"{self.value:.3f}"
        return f"{self.value:,.0f}"


@dataclass
class Rows:
    """All values, in the order of measurement."""

    all: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add a value."""
        self.all.append(row)

    def find(self, group: str, case: str, system: str, metric: str) -> float | None:
        """Return a value; None when it was not measured."""
        key = (group, case, system, metric)
        return next((row.value for row in self.all if (row.group, row.case, row.system, row.metric) == key), None)

    def of(self, group: str) -> list[Row]:
        """Return the values of one table."""
        return [row for row in self.all if row.group == group]

    def as_json(self) -> list[dict[str, object]]:
        """Return what `--json` writes."""
        return [{key: value for key, value in asdict(row).items() if key != "group"} for row in self.all]


def speed(size: int, seconds: list[float]) -> float:
    """Return MB per second, from the median."""
    return size / MB / median(seconds)
