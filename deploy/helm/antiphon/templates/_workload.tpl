{{/* The pod of one service. */}}
{{- define "antiphon.pod" -}}
{{- $svc := .svc -}}
{{- $root := .root -}}
{{- $kind := include "antiphon.kind" .name -}}
{{- $ours := ne $kind "openai" -}}
{{- $cached := and $svc.modelCache (ne $root.Values.models.source "none") -}}
{{- $tokens := and $ours $root.Values.auth.existingSecret (not $root.Values.auth.allowOpen) -}}
{{- $tls := and $ours $root.Values.tls.existingSecret -}}
serviceAccountName: {{ include "antiphon.name" . }}
automountServiceAccountToken: false
# A Service called antiphon-asr would otherwise set ANTIPHON_ASR_PORT, an unknown setting.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $svc.terminationGracePeriodSeconds }}
securityContext: {{- include "antiphon.podSecurity" . | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $svc.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $svc.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $svc.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $svc.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $svc.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "antiphon.selector" $ | nindent 8 }}
{{- end }}
{{- if and $cached $svc.init.command }}
initContainers:
  - name: models
    image: {{ include "antiphon.image" . }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: {{- toYaml $svc.init.command | nindent 6 }}
    {{- with $root.Values.models.env }}
    env:
      {{- range $key, $value := . }}
      - {name: {{ $key }}, value: {{ $value | quote }}}
      {{- end }}
    {{- end }}
    resources: {{- toYaml $svc.init.resources | nindent 6 }}
    securityContext: {{- include "antiphon.containerSecurity" . | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: models, mountPath: {{ $root.Values.models.mountPath }}}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "antiphon.image" . }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    {{- if not $ours }}
    command: [vllm, serve]
    args: {{- concat $svc.args (list "--port" (toString $svc.port)) | toYaml | nindent 6 }}
    {{- else if $svc.args }}
    args: {{- toYaml $svc.args | nindent 6 }}
    {{- end }}
    ports:
      - {name: main, containerPort: {{ $svc.port }}, protocol: TCP}
      {{- if $ours }}
      - {name: metrics, containerPort: {{ $svc.metricsPort }}, protocol: TCP}
      {{- end }}
      {{- if eq $kind "grpc" }}
      - {name: health, containerPort: {{ $svc.healthPort }}, protocol: TCP}
      {{- end }}
    env:
      {{- range $key, $value := mustMergeOverwrite (include (printf "antiphon.env.%s" $kind) . | fromYaml) $svc.env }}
      - {name: {{ $key }}, value: {{ $value | toString | quote }}}
      {{- end }}
      {{- range $key, $ref := $svc.secretEnv }}
      - name: {{ $key }}
        valueFrom:
          secretKeyRef: {name: {{ $ref.name }}, key: {{ $ref.key }}}
      {{- end }}
    {{- include (printf "antiphon.probes.%s" $kind) . | nindent 4 }}
    resources: {{- include "antiphon.resources" . | nindent 6 }}
    securityContext: {{- include "antiphon.containerSecurity" . | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if $svc.shmSize }}
      - {name: shm, mountPath: /dev/shm}
      {{- end }}
      {{- if $tokens }}
      - {name: tokens, mountPath: /etc/antiphon/tokens, readOnly: true}
      {{- end }}
      {{- if $tls }}
      - {name: tls, mountPath: /etc/antiphon/tls, readOnly: true}
      {{- end }}
      {{- if $cached }}
      # vLLM and the model hub's client write what they download; our own services only read.
      - {name: models, mountPath: {{ $root.Values.models.mountPath }}{{ if not $svc.writesModels }}, readOnly: true{{ end }}}
      {{- end }}
      {{- if eq $kind "http" }}
      {{- if $root.Values.agents }}
      - {name: agents, mountPath: /etc/antiphon/agents, readOnly: true}
      {{- end }}
      {{- if $root.Values.webrtc.relaySecret }}
      - {name: relay, mountPath: /etc/antiphon/relay, readOnly: true}
      {{- end }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: {{ $svc.tmpSize }}}
  {{- if $svc.shmSize }}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ $svc.shmSize }}}
  {{- end }}
  {{- if $tokens }}
  - name: tokens
    secret:
      secretName: {{ $root.Values.auth.existingSecret }}
      defaultMode: 0440
      items:
        - {key: {{ $root.Values.auth.serviceKey }}, path: service}
        {{- if eq $kind "http" }}
        - {key: {{ $root.Values.auth.sessionKey }}, path: session}
        {{- end }}
  {{- end }}
  {{- if $tls }}
  - name: tls
    secret: {secretName: {{ $root.Values.tls.existingSecret }}, defaultMode: 0440}
  {{- end }}
  {{- if $cached }}
  - name: models
    {{- if eq $root.Values.models.source "hostPath" }}
    hostPath: {path: {{ $root.Values.models.hostPath }}, type: DirectoryOrCreate}
    {{- else }}
    persistentVolumeClaim:
      claimName: {{ $root.Values.models.existingClaim | default (include "antiphon.name" (dict "root" $root "name" "models")) }}
    {{- end }}
  {{- end }}
  {{- if eq $kind "http" }}
  {{- if $root.Values.agents }}
  - name: agents
    configMap: {name: {{ include "antiphon.name" (dict "root" $root "name" "agents") }}}
  {{- end }}
  {{- if $root.Values.webrtc.relaySecret }}
  - name: relay
    secret:
      secretName: {{ $root.Values.webrtc.relaySecret }}
      defaultMode: 0440
      items: [{key: {{ $root.Values.webrtc.relaySecretKey }}, path: secret}]
  {{- end }}
  {{- end }}
{{- end -}}

{{/* The resources of a service, its GPUs among them. Quantities are strings: some API servers refuse numbers. */}}
{{- define "antiphon.resources" -}}
{{- $resources := deepCopy .svc.resources -}}
{{- if .svc.gpu.count -}}
{{- $limits := dict .svc.gpu.resource (toString .svc.gpu.count) -}}
{{- $_ := set $resources "limits" (merge $limits ($resources.limits | default dict)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* On a GPU a rollout must not need a second one: the old pod goes first, unless the values say that there is a spare. */}}
{{- define "antiphon.strategy" -}}
type: RollingUpdate
rollingUpdate:
{{- if or (not .svc.gpu.count) .svc.gpu.spare }}
  maxSurge: 1
  maxUnavailable: 0
{{- else }}
  maxSurge: 0
  maxUnavailable: 1
{{- end }}
{{- end -}}

{{/* Fails for values that would cut calls off, or that cannot be served. */}}
{{- define "antiphon.check" -}}
{{- $svc := .svc -}}
{{- $needed := add $svc.drain.drainSeconds $svc.drain.graceSeconds 10 -}}
{{- if lt (int $svc.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "services.%s: terminationGracePeriodSeconds is %d, but drain.drainSeconds + drain.graceSeconds + 10 s is %d: calls would be cut off; raise it, or lower those" .name (int $svc.terminationGracePeriodSeconds) (int $needed)) -}}
{{- end -}}
{{- if and $svc.init.command $svc.modelCache (eq .root.Values.models.source "none") -}}
{{- fail (printf "services.%s has init.command, but models.source is none: there is no cache to put models into; set models.source to pvc or hostPath" .name) -}}
{{- end -}}
{{- if and $svc.autoscaling.enabled (gt (int $svc.autoscaling.minReplicas) (int $svc.autoscaling.maxReplicas)) -}}
{{- fail (printf "services.%s.autoscaling: minReplicas %d is more than maxReplicas %d" .name (int $svc.autoscaling.minReplicas) (int $svc.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}

{{- define "antiphon.checkAll" -}}
{{- if and (not .Values.auth.existingSecret) (not .Values.auth.allowOpen) -}}
{{- fail "auth.existingSecret is empty: name a Secret with the keys session and service, or set auth.allowOpen=true to let everybody call" -}}
{{- end -}}
{{- if and .Values.webrtc.enabled (gt (int (include "antiphon.service" (dict "root" . "name" "orchestrator") | fromYaml).replicas) 1) (eq .Values.orchestratorService.sessionAffinity "None") (not .Values.ingress.enabled) -}}
{{- fail "webrtc.enabled with several orchestrators needs a caller's requests to reach the same one: set orchestratorService.sessionAffinity=ClientIP, or an ingress with cookie affinity" -}}
{{- end -}}
{{- end -}}
