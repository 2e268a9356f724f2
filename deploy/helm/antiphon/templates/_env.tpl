{{/* What a process is told by the chart, as a map; a service's own `env` goes over it. */}}
{{- define "antiphon.env.grpc" -}}
{{- $p := printf "ANTIPHON_%s_" (upper .name) -}}
{{ $p }}BIND: "0.0.0.0:{{ .svc.port }}"
{{ $p }}HEALTH_BIND: "0.0.0.0:{{ .svc.healthPort }}"
{{ $p }}METRICS_BIND: "0.0.0.0:{{ .svc.metricsPort }}"
{{ $p }}BACKEND: {{ .svc.backend | quote }}
{{- if .svc.slots }}
{{ $p }}SLOTS: {{ .svc.slots | quote }}
{{- end }}
{{ $p }}DRAIN_S: {{ .svc.drain.drainSeconds | quote }}
{{ $p }}GRACE_S: {{ .svc.drain.graceSeconds | quote }}
{{ include "antiphon.env.telemetry" (dict "root" .root "p" $p) }}
{{- if .root.Values.auth.allowOpen }}
{{ $p }}ALLOW_OPEN: "true"
{{- else }}
{{ $p }}TOKEN_SECRET_FILE: /etc/antiphon/tokens/service
{{- end }}
{{- if .root.Values.tls.existingSecret }}
{{ $p }}TLS_CERT_FILE: /etc/antiphon/tls/tls.crt
{{ $p }}TLS_KEY_FILE: /etc/antiphon/tls/tls.key
{{ $p }}TLS_CLIENT_CA_FILE: /etc/antiphon/tls/ca.crt
{{- end }}
{{- if ne .root.Values.models.source "none" }}
ANTIPHON_MODELS_DIR: {{ .root.Values.models.mountPath }}
{{- end }}
{{- if and (eq .name "llm") .root.Values.services.vllm.enabled }}
ANTIPHON_LLM_OPENAI__BASE_URL: "http://{{ include "antiphon.name" (dict "root" .root "name" "vllm") }}:{{ .root.Values.services.vllm.port }}/v1"
{{- end }}
{{- end -}}

{{- define "antiphon.env.http" -}}
{{- $root := .root -}}
{{- $p := "ANTIPHON_ORCHESTRATOR_" -}}
{{ $p }}BIND: "0.0.0.0:{{ .svc.port }}"
{{ $p }}METRICS_BIND: "0.0.0.0:{{ .svc.metricsPort }}"
{{- range $service := list "asr" "tts" "llm" "turn" }}
{{ $p }}{{ upper $service }}: "{{ include "antiphon.name" (dict "root" $root "name" $service) }}:{{ (include "antiphon.service" (dict "root" $root "name" $service) | fromYaml).port }}"
{{- end }}
{{- if .svc.slots }}
{{ $p }}MAX_SESSIONS: {{ .svc.slots | quote }}
{{- end }}
{{ $p }}DRAIN_S: {{ .svc.drain.drainSeconds | quote }}
{{ $p }}GRACE_S: {{ .svc.drain.graceSeconds | quote }}
{{ $p }}SINGLE_GPU: {{ .root.Values.singleGpu | quote }}
{{ include "antiphon.env.telemetry" (dict "root" .root "p" $p) }}
{{ $p }}LOG_TEXT: {{ .root.Values.telemetry.logText | quote }}
{{- if .root.Values.auth.allowOpen }}
{{ $p }}ALLOW_OPEN: "true"
{{- else }}
{{ $p }}SESSION_SECRET_FILE: /etc/antiphon/tokens/session
{{ $p }}SERVICE_SECRET_FILE: /etc/antiphon/tokens/service
{{- end }}
{{- if .root.Values.tls.existingSecret }}
{{ $p }}SERVICE_CA_FILE: /etc/antiphon/tls/ca.crt
{{ $p }}SERVICE_CERT_FILE: /etc/antiphon/tls/tls.crt
{{ $p }}SERVICE_KEY_FILE: /etc/antiphon/tls/tls.key
{{- end }}
{{- if .root.Values.agents }}
{{ $p }}AGENTS_FILE: /etc/antiphon/agents/agents.yaml
{{- end }}
{{- if .root.Values.ingress.allowedOrigins }}
{{ $p }}ALLOWED_ORIGINS: {{ join "," .root.Values.ingress.allowedOrigins | quote }}
{{- end }}
{{- with .root.Values.webrtc.iceServers }}
{{ $p }}ICE_SERVERS: {{ join "," . | quote }}
{{- end }}
{{- if .root.Values.webrtc.relaySecret }}
{{ $p }}RELAY_SECRET_FILE: /etc/antiphon/relay/secret
{{- end }}
{{- end -}}

{{- define "antiphon.env.openai" -}}
HF_HOME: {{ .root.Values.models.mountPath }}
HOME: /tmp
# Its libraries ask for the user's name, and uid 10001 has none in its image.
LOGNAME: vllm
VLLM_NO_USAGE_STATS: "1"
DO_NOT_TRACK: "1"
{{- end -}}

{{- define "antiphon.env.telemetry" -}}
{{ .p }}LOG_FORMAT: json
{{ .p }}LOG_LEVEL: {{ .root.Values.telemetry.logLevel }}
{{- if .root.Values.telemetry.otlpUrl }}
{{ .p }}OTLP_URL: {{ .root.Values.telemetry.otlpUrl | quote }}
{{- end }}
{{- end -}}
