"""What the boards are made of."""

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
# Of the panels that are per process: which ones are looked at.
HERE = 'instance=~"$instance"'
HALF, THIRD, WHOLE = 12, 8, 24
SLO_S = 0.8

LISTED = 'label_values({__name__=~"antiphon_.+"}, instance)'

Query = tuple[str, str]
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel, bargauge.Panel)


def percentile(share: float, metric: str, *, by: str = "", where: str = "") -> str:
    """Of a histogram, over the board's interval."""
    selector = ", ".join(part for part in (HERE, where) if part)
    labels = ", ".join(part for part in ("le", by) if part)
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))"


def rate(metric: str, *, by: str = "", where: str = "") -> str:
    selector = ", ".join(part for part in (HERE, where) if part)
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{{{selector}}}[$__rate_interval]))"


def now(metric: str, *, by: str = "") -> str:
    return f"sum by ({by}) ({metric}{{{HERE}}})" if by else f"sum ({metric}{{{HERE}}})"


def percentiles(metric: str, *, where: str = "") -> list[Query]:
    return [(percentile(share, metric, where=where), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def board(title: str, uid: str, text: str) -> dashboard.Dashboard:
    """An empty one, with what all of them share."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["antiphon"])
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .tooltip(1)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("instance")
            .datasource(PROMETHEUS)
            .query(LISTED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .refresh(2)
        )
    )


def lines(
    title: str, queries: Sequence[Query], *, unit: str = "s", span: int = HALF, text: str = "", stacked: bool = False
) -> timeseries.Panel:
    """Values over time; those in seconds of latency link to their traces."""
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.RIGHT)
        .calcs(["lastNotNull", "max"])
        .show_legend(True)
    )
    panel = (
        _titled(timeseries.Panel(), title, text, span, 8)
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(60 if stacked else 0)
        .show_points(VisibilityMode.NEVER)
        .draw_style(GraphDrawStyle.LINE)
        .legend(legend)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for number, (query, name) in enumerate(queries):
        panel = panel.with_target(_target(query, name, number).exemplar("_bucket" in query))
    return panel


def figure(
    title: str, query: str, *, unit: str = "s", text: str = "", bad_over: float | None = None, bad_under: float = 0.0
) -> stat.Panel:
    """One number, red on its bad side."""
    steps = [Threshold(value=None, color="green")]
    if bad_over is not None:
        steps.append(Threshold(value=bad_over, color="red"))
    elif bad_under:
        steps = [Threshold(value=None, color="red"), Threshold(value=bad_under, color="green")]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return (
        _titled(stat.Panel(), title, text, 4, 4).unit(unit).thresholds(thresholds).with_target(_target(query, title, 0))
    )


def heat(title: str, metric: str, *, where: str = "", span: int = HALF, text: str = "") -> heatmap.Panel:
    """How many observations fell into each bucket, over time."""
    selector = ", ".join(part for part in (HERE, where) if part)
    query = f"sum by (le) (increase({metric}_bucket{{{selector}}}[$__rate_interval]))"
    return (
        _titled(heatmap.Panel(), title, text, span, 8)
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5))
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .with_target(_target(query, "{{le}}", 0).format(PromQueryFormat.HEATMAP))
    )


def bars(title: str, query: str, name: str, *, unit: str = "s", text: str = "", span: int = HALF) -> bargauge.Panel:
    """Values of now side by side."""
    return (
        _titled(bargauge.Panel(), title, text, span, 8).unit(unit).min(0).with_target(_target(query, name, 0).instant())
    )


def _titled(panel: P, title: str, text: str, span: int, height: int) -> P:
    """What every panel of ours has; the grid is 24 wide."""
    return panel.title(title).description(text).datasource(PROMETHEUS).span(span).height(height)


def _target(query: str, name: str, number: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query).legend_format(name).ref_id(chr(ord("A") + number))
