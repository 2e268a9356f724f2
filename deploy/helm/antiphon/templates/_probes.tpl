{{- define "antiphon.probes.grpc" -}}
startupProbe:
  grpc: {port: {{ .svc.healthPort }}, service: {{ include "antiphon.protoService" .name }}}
  periodSeconds: {{ .svc.startup.periodSeconds }}
  failureThreshold: {{ .svc.startup.failureThreshold }}
  timeoutSeconds: 3
readinessProbe:
  grpc: {port: {{ .svc.healthPort }}, service: {{ include "antiphon.protoService" .name }}}
  periodSeconds: 2
  failureThreshold: 2
  timeoutSeconds: 3
livenessProbe:
  grpc: {port: {{ .svc.healthPort }}, service: liveness}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
{{- end -}}

{{- define "antiphon.probes.http" -}}
{{- include "antiphon.probes.paths" (dict "svc" .svc "ready" "/healthz" "live" "/livez") -}}
{{- end -}}

{{- define "antiphon.probes.openai" -}}
{{- include "antiphon.probes.paths" (dict "svc" .svc "ready" "/health" "live" "/health") -}}
{{- end -}}

{{- define "antiphon.probes.paths" -}}
startupProbe:
  httpGet: {path: {{ .ready }}, port: main}
  periodSeconds: {{ .svc.startup.periodSeconds }}
  failureThreshold: {{ .svc.startup.failureThreshold }}
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: {{ .ready }}, port: main}
  periodSeconds: 2
  failureThreshold: 2
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: {{ .live }}, port: main}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
{{- end -}}
