"""One call: its turns, each by its trace."""

from grafana_foundation_sdk.builders import dashboard, table, tempo, text
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.text import TextMode
from parts import HALF, WHOLE, board, lines, percentile

TEMPO = DataSourceRef(type_val="tempo", uid="${traces}")
HOW = """Click a dot of the panel below to reach the trace of a slow turn, or give a call's session id above.
`antiphon why SESSION_OR_TRACE` says in a sentence which stage made a turn slow."""
TURNS = (
    '{ name = "turn" && span.antiphon.session.id = "$session" } | select(span.antiphon.turn.id, '
    "span.antiphon.turn.outcome, span.antiphon.turn.v2v_ms, span.antiphon.turn.llm_calls)"
)
STAGES = (
    '{ name = "turn" && span.antiphon.session.id = "$session" } >> { name =~ "stage .*" && duration > ${longer}ms }'
)


def build() -> dashboard.Dashboard:
    return (
        board("Antiphon: call", "antiphon-call", "One call's turns by their traces. Needs Tempo beside Prometheus.")
        .with_variable(dashboard.DatasourceVariable("traces").label("Tempo").type("tempo"))
        .with_variable(dashboard.TextBoxVariable("session").label("Session id").default_value(""))
        .with_variable(dashboard.TextBoxVariable("longer").label("Stages longer than (ms)").default_value("200"))
        .with_panel(text.Panel().title("How").mode(TextMode.MARKDOWN).content(HOW).span(WHOLE).height(3))
        .with_panel(
            lines(
                "V2V of all calls: each dot is a turn with its trace",
                [
                    (percentile(0.5, "antiphon_v2v_seconds"), "p50"),
                    (percentile(0.99, "antiphon_v2v_seconds"), "p99"),
                ],
                span=WHOLE,
            )
        )
        .with_panel(_found("Turns of the call", TURNS))
        .with_panel(_found("Its long stages", STAGES))
    )


def _found(title: str, query: str) -> table.Panel:
    target = tempo.TempoQuery().query(query).query_type("traceql").limit(100).ref_id("A")
    return table.Panel().title(title).datasource(TEMPO).span(HALF).height(12).with_target(target)
