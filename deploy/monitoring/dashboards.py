"""Grafana's dashboards, made of the panels: `python -m deploy.monitoring.dashboards` writes them beside the chart."""

import json
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos, Threshold, ThresholdsMode

from deploy.monitoring.panels import DASHBOARDS, Panel

FOLDER = Path(__file__).with_name("grafana")
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
COLUMNS, WIDTH, HEIGHT = 2, 12, 8


def document(name: str) -> str:
    """A dashboard as JSON text.

    Args:
        name: a row of `DASHBOARDS`.
    """
    board = (
        dashboard.Dashboard(f"AnonFACES: {name}")
        .uid(f"anonfaces-{name}")
        .tags(["anonfaces"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for place, panel in enumerate(DASHBOARDS[name]):
        at = GridPos(h=HEIGHT, w=WIDTH, x=WIDTH * (place % COLUMNS), y=HEIGHT * (place // COLUMNS))
        board = board.with_panel(_panel(panel).grid_pos(at))
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    picture = timeseries.Panel().title(panel.title).description(panel.meaning).unit(panel.unit).datasource(SOURCE)
    picture = picture.min(0).line_width(1.5).fill_opacity(8)
    if panel.limit:
        steps = [Threshold(color="transparent"), Threshold(value=panel.limit.value, color="red")]
        picture = picture.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        picture = picture.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for number, (query, legend) in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + number))
        picture = picture.with_target(target)
    return picture


def write() -> None:
    """Writes every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(document(name))


if __name__ == "__main__":
    write()
