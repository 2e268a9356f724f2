"""Writes the chart's values.schema.json: `make chart`. It is closed everywhere, so that a typing mistake is named."""

import json
from pathlib import Path
from typing import Any

CHART = Path(__file__).with_name("antiphon")
Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
YES_NO: Schema = {"type": "boolean"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65_535}
COUNT: Schema = {"type": "integer", "minimum": 0}
AT_LEAST_ONE: Schema = {"type": "integer", "minimum": 1}
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9.]+(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}
# An env variable, a label, an annotation: whatever the name, the value is text.
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
WORDS: Schema = {"type": "array", "items": TEXT}
# What Kubernetes itself defines and checks.
ANY_OBJECT: Schema = {"type": "object"}
OBJECTS: Schema = {"type": "array", "items": ANY_OBJECT}
ENV: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": TEXT,
}
SERVICES = ("asr", "tts", "llm", "turn", "orchestrator", "vllm")


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def closed(**properties: Schema) -> Schema:
    """An object that has these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


RESOURCES = closed(requests=ANY_OBJECT, limits=ANY_OBJECT)
IMAGE = closed(
    registry=TEXT, repository=TEXT, tag=TEXT, digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
)
SERVICE = closed(
    enabled=YES_NO,
    image=IMAGE,
    backend=TEXT,
    args=WORDS,
    replicas=COUNT,
    slots=COUNT,
    port=PORT,
    healthPort=PORT,
    metricsPort=PORT,
    env=ENV,
    secretEnv={
        "type": "object",
        "additionalProperties": {**closed(name=TEXT, key=TEXT), "required": ["name", "key"]},
    },
    resources=RESOURCES,
    gpu=closed(count=COUNT, resource={"type": "string", "pattern": "^[a-z0-9.-]+/[A-Za-z0-9_.-]+$"}, spare=YES_NO),
    runtimeClassName=TEXT,
    priorityClassName=TEXT,
    nodeSelector=TEXTS,
    tolerations=OBJECTS,
    affinity=ANY_OBJECT,
    podLabels=TEXTS,
    podAnnotations=TEXTS,
    modelCache=YES_NO,
    writesModels=YES_NO,
    init=closed(command=WORDS, resources=RESOURCES),
    tmpSize=QUANTITY,
    shmSize={"anyOf": [QUANTITY, {"const": ""}]},
    startup=closed(periodSeconds=AT_LEAST_ONE, failureThreshold=AT_LEAST_ONE),
    drain=closed(drainSeconds=COUNT, graceSeconds=COUNT),
    terminationGracePeriodSeconds=AT_LEAST_ONE,
    autoscaling=closed(
        enabled=YES_NO,
        minReplicas=AT_LEAST_ONE,
        maxReplicas=AT_LEAST_ONE,
        metric=TEXT,
        target=AT_LEAST_ONE,
        scaleDownWindowSeconds=COUNT,
    ),
    disruptionBudget=closed(enabled=YES_NO, maxUnavailable=AT_LEAST_ONE),
    egress=OBJECTS,
)


def _reached() -> dict[str, Schema]:
    """What says how callers reach the platform."""
    return {
        "orchestratorService": closed(
            type=one_of("ClusterIP", "NodePort", "LoadBalancer"), sessionAffinity=one_of("None", "ClientIP")
        ),
        "ingress": closed(
            enabled=YES_NO, className=TEXT, host=TEXT, tlsSecret=TEXT, annotations=TEXTS, allowedOrigins=WORDS
        ),
        "webrtc": closed(
            enabled=YES_NO,
            iceServers={"type": "array", "items": {"type": "string", "pattern": "^(stuns?|turns?):"}},
            relaySecret=TEXT,
            relaySecretKey=TEXT,
        ),
        "coturn": closed(
            enabled=YES_NO,
            image=TEXT,
            realm=TEXT,
            serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
            serviceAnnotations=TEXTS,
            minPort=PORT,
            maxPort=PORT,
            resources=RESOURCES,
        ),
    }


def schema() -> Schema:
    service = {"$ref": "#/$defs/service"}
    values = closed(
        **{"global": ANY_OBJECT},  # Helm's own
        image=closed(
            registry=TEXT,
            tag=TEXT,
            pullPolicy=one_of("IfNotPresent", "Always", "Never"),
            pullSecrets=WORDS,
        ),
        auth=closed(existingSecret=TEXT, sessionKey=TEXT, serviceKey=TEXT, allowOpen=YES_NO),
        tls=closed(existingSecret=TEXT),
        agents=TEXT,
        singleGpu=YES_NO,
        models=closed(
            source=one_of("pvc", "hostPath", "none"),
            existingClaim=TEXT,
            storageClass=TEXT,
            accessMode=one_of("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"),
            size=QUANTITY,
            keep=YES_NO,
            hostPath={"type": "string", "pattern": "^/"},
            mountPath={"type": "string", "pattern": "^/"},
            env=ENV,
        ),
        defaults=service,
        services=closed(**dict.fromkeys(SERVICES, service)),
        **_reached(),
        networkPolicy=closed(enabled=YES_NO, callers=OBJECTS, prometheus=OBJECTS, downloads=YES_NO),
        telemetry=closed(
            otlpUrl={"type": "string", "pattern": r"^(https?://\S+)?$"},
            logLevel=one_of("DEBUG", "INFO", "WARNING", "ERROR"),
            logText=YES_NO,
        ),
        monitoring=closed(
            podMonitor=closed(enabled=YES_NO, interval=TEXT, labels=TEXTS),
            rules=closed(enabled=YES_NO, labels=TEXTS),
            dashboards=closed(enabled=YES_NO, labels=TEXTS),
        ),
        caller=closed(image=IMAGE, resources=RESOURCES),
        canary=closed(enabled=YES_NO, everySeconds=AT_LEAST_ONE, url=TEXT, metricsPort=PORT),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **values, "$defs": {"service": SERVICE}}


def rendered() -> str:
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(rendered())
