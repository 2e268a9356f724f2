{{/* Names. A component's objects are RELEASE-COMPONENT. */}}
{{- define "antiphon.name" -}}
{{- printf "%s-%s" .root.Release.Name .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "antiphon.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "antiphon.labels" -}}
{{ include "antiphon.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: antiphon
{{- end -}}

{{/* A service's values over the defaults, as YAML. */}}
{{- define "antiphon.service" -}}
{{- mustMergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values.services .name)) | toYaml -}}
{{- end -}}

{{/* grpc for the four services, http for the orchestrator, openai for vLLM. */}}
{{- define "antiphon.kind" -}}
{{- if eq . "orchestrator" }}http{{ else if eq . "vllm" }}openai{{ else }}grpc{{ end -}}
{{- end -}}

{{- define "antiphon.protoService" -}}
{{- printf "antiphon.%s.v1.%sService" . (title .) -}}
{{- end -}}

{{- define "antiphon.image" -}}
{{- $image := .svc.image -}}
{{- $registry := $image.registry | default .root.Values.image.registry -}}
{{- $tag := $image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* Where a caller within the cluster finds the orchestrator. */}}
{{- define "antiphon.callUrl" -}}
ws://{{ include "antiphon.name" (dict "root" . "name" "orchestrator") }}:{{ (include "antiphon.service" (dict "root" . "name" "orchestrator") | fromYaml).port }}/ws
{{- end -}}

{{/* What the pod of a caller (helm test, the canary) is made of, apart from its arguments. */}}
{{- define "antiphon.caller" -}}
image: {{ include "antiphon.image" (dict "root" . "svc" (dict "image" .Values.caller.image)) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "antiphon.containerSecurity" . | nindent 2 }}
resources: {{- toYaml .Values.caller.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.auth.existingSecret }}
  - {name: tokens, mountPath: /etc/antiphon/tokens, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "antiphon.callerVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if .Values.auth.existingSecret }}
- name: tokens
  secret:
    secretName: {{ .Values.auth.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .Values.auth.sessionKey }}, path: session}]
    optional: true
{{- end }}
{{- end -}}

{{- define "antiphon.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "antiphon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
