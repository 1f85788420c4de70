"""Reads the metrics that a controller serves."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from support.controller import Farm


def page(farm: Farm) -> dict[tuple[str, ...], float]:
    """Return every metric by its name and the values of its labels, sorted. Blocking."""
    url = f"http://127.0.0.1:{farm.controller.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=180) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix("phonefarm_controller_"), *sorted(sample.labels.values())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
