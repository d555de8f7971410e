{{- define "anonfaces.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels of everything; `part` is service, triton or test. */}}
{{- define "anonfaces.selector" -}}
app.kubernetes.io/name: anonfaces
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "anonfaces.labels" -}}
{{ include "anonfaces.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* An image by digest, or by a tag that is never `latest`. */}}
{{- define "anonfaces.image" -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion }}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else if eq $tag "latest" }}{{ fail "an image tag is `latest`: name a version, or a digest" }}
{{- else }}{{ .image.repository }}:{{ $tag }}
{{- end }}
{{- end }}

{{- define "anonfaces.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "anonfaces.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Pods of one part on different nodes and zones, as far as that is possible. */}}
{{- define "anonfaces.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "anonfaces.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* What must hold before anything is installed. */}}
{{- define "anonfaces.check" -}}
{{- if not (or .Values.access.keysSecret .Values.access.anonymous) }}
{{- fail "access.keysSecret names no Secret of API keys (make one with `anonfaces keys add`); access.anonymous=true says that something else decides who may ask" }}
{{- end }}
{{- $longest := .Values.settings.request_timeout_s | default 60 | float64 }}
{{- $needed := addf $longest (float64 .Values.service.preStopSeconds) 10 }}
{{- if lt (float64 .Values.service.terminationGraceSeconds) $needed }}
{{- fail (printf "service.terminationGraceSeconds must be at least %v: the longest request, preStopSeconds, and 10" $needed) }}
{{- end }}
{{- if and (eq .Values.triton.config "gpu") (not .Values.triton.gpu.count) }}
{{- fail "triton.config is gpu, and triton.gpu.count is 0" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.enabled needs ingress.host" }}
{{- end }}
{{- end }}
