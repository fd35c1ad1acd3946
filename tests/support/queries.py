"""The queries of the alert rules and the dashboard, and what they ask for that an exposition does not have."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import attrs
import yaml
from msgspec import json
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parents[2] / "observability"
RULES = FOLDER / "rules.yml"
DASHBOARD = FOLDER / "dashboard.json"
_SELECTION = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\bby\s*\(([^)]*)\)")
_SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")


@attrs.frozen
class Query:
    """A query, and the text that shows labels of its results."""

    expression: str
    text: str

    def missing_in(self, exposition: str) -> set[str]:
        """Return the metrics, labels and values that it asks for and that are not in the exposition."""
        known: dict[str, dict[str, set[str]]] = {}
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                labels = known.setdefault(sample.name, defaultdict(set))
                for name, value in sample.labels.items():
                    labels[name].add(value)
        metrics = set(re.findall(r"\borderflow_\w+", self.expression))
        assert metrics, self.expression
        labels = defaultdict(set)
        for metric in metrics & known.keys():
            for name, values in known[metric].items():
                labels[name] |= values
        groups = ",".join(_GROUPING.findall(self.expression)).replace(" ", "").split(",")
        asked = {*filter(None, groups), *_SHOWN.findall(self.text)} - {"le"}
        selected = _SELECTION.findall(self.expression)
        asked |= {name for name, _, _ in selected}
        values = {value for name, operator, value in selected if operator == "=" and value not in labels[name]}
        # A worker has one state at a time.
        return (metrics - known.keys()) | (asked - labels.keys()) | (values - {"braked"})


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[Query]:
    """Return all queries."""
    panels = json.decode(DASHBOARD.read_bytes())["panels"]
    shown = [Query(target["expr"], target.get("legendFormat", "")) for panel in panels for target in panel["targets"]]
    return [*shown, *(Query(rule["expr"], rule["annotations"]["summary"]) for rule in rules())]
