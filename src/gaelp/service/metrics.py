"""What the service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0)


class Metrics:
    """Counts of one application; each has its own, so two in a process do not add up."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "gaelp_http_requests", "Answers.", ("method", "path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "gaelp_http_seconds", "From request to answer.", ("path",), buckets=_SECONDS, registry=registry
        )
        self.predictions = Counter(
            "gaelp_predictions_served", "Predictions, by version.", ("version",), registry=registry
        )
        self.recorded = Counter(
            "gaelp_predictions_recorded", "Predictions kept in the database.", registry=registry
        )
        self.lost = Counter(
            "gaelp_predictions_lost", "Predictions served and never kept.", ("why",), registry=registry
        )
        self.waiting = Gauge("gaelp_predictions_waiting", "Predictions still to be kept.", registry=registry)
        self.events = Counter(
            "gaelp_purchase_events",
            "Purchases, by what became of them.",
            ("result",),
            registry=registry,
        )
        self.outcomes = Counter(
            "gaelp_outcomes", "Outcomes kept, new or restated.", ("result",), registry=registry
        )
        self.runs = Counter(
            "gaelp_retrain_runs",
            "Looks at the model, by outcome.",
            ("trigger", "status"),
            registry=registry,
        )
        self.run_seconds = Counter("gaelp_retrain_seconds", "Spent in them.", registry=registry)
        self.restarts = Counter(
            "gaelp_retrainer_starts", "Starts of the process that retrains.", registry=registry
        )

    def text(self) -> bytes:
        """All counts in the text format of Prometheus."""
        return generate_latest(self._registry)
