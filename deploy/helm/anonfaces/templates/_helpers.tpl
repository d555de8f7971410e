{{- define "anonfaces.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels of everything; `part` is service, triton, test or population. */}}
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

{{- define "anonfaces.deployment" -}}
{{ include "anonfaces.name" .root }}{{ ternary "" (printf "-%s" .part) (eq .part "service") }}
{{- end }}

{{/* Seconds that work waits for its turn: how long nine of ten photos do in the service, or an inference in Triton. Where
     there was none in two minutes that is no number, and taken as 0. */}}
{{- define "anonfaces.wait" -}}
{{- $here := printf "namespace=%q" .root.Release.Namespace }}
{{- if eq .part "service" }}
{{- printf "histogram_quantile(0.9, sum by (le) (rate(anonfaces_queue_seconds_bucket{%s}[2m]))) >= 0 or vector(0)" $here }}
{{- else }}
{{- printf "sum(rate(nv_inference_queue_duration_us{%s}[2m])) / sum(rate(nv_inference_request_success{%s}[2m])) / 1e6 >= 0 or vector(0)" $here $here }}
{{- end }}
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
  matchLabelKeys: [pod-template-hash]  # an upgrade spreads the new pods, whatever the old ones do
  labelSelector:
    matchLabels: {{- include "anonfaces.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* Where the model repository is on its volume. Each version of the image has a folder, so that a rollback finds its own. */}}
{{- define "anonfaces.models" -}}
{{- $image := .Values.models.image }}
{{- $version := ternary (trunc 19 $image.digest | replace ":" "-") (default .Chart.AppVersion $image.tag) (ne $image.digest "") }}
{{- printf "/models/%s" (default $version .Values.models.folder) }}
{{- end }}

{{/* Peers of a network policy that answer names. */}}
{{- define "anonfaces.dns" -}}
- to: {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}

{{/* Seconds of the longest request: a batch, so many photos at a time as services/anonymizer/api/batch.py takes. */}}
{{- define "anonfaces.longest" -}}
{{- $settings := .Values.settings }}
{{- $ahead := min 4 (max 1 (div (default 8 $settings.max_concurrency | int) 2)) | float64 }}
{{- mulf (ceil (divf (default 16 $settings.max_batch_photos | float64) $ahead)) (default 60 $settings.request_timeout_s | float64) }}
{{- end }}

{{/* What must hold before anything is installed. */}}
{{- define "anonfaces.check" -}}
{{- $access := .Values.access }}
{{- if not (or $access.keysSecret $access.anonymous) }}
{{- fail "access.keysSecret names no Secret of API keys (make one with `anonfaces keys add`); access.anonymous=true says that something else decides who may ask" }}
{{- end }}
{{- if and $access.clientCaSecret (not (and $access.tlsSecret $access.clientSecret)) }}
{{- fail "access.clientCaSecret asks clients for certificates: name the service's own with access.tlsSecret, and with access.clientSecret the one that probes, helm test and Prometheus show" }}
{{- end }}
{{- $needed := addf (include "anonfaces.longest" . | float64) (float64 .Values.service.preStopSeconds) 10 }}
{{- if lt (float64 .Values.service.terminationGraceSeconds) $needed }}
{{- fail (printf "service.terminationGraceSeconds must be at least %v: the longest batch, preStopSeconds, and 10" $needed) }}
{{- end }}
{{- $needed := addf (.Values.settings.triton_timeout_s | default 20 | float64) (float64 .Values.triton.drainSeconds) 15 }}
{{- if lt (float64 .Values.triton.terminationGraceSeconds) $needed }}
{{- fail (printf "triton.terminationGraceSeconds must be at least %v: drainSeconds, the longest inference, and 15" $needed) }}
{{- end }}
{{- if and (eq .Values.triton.config "gpu") (not .Values.triton.gpu.count) }}
{{- fail "triton.config is gpu, and triton.gpu.count is 0" }}
{{- end }}
{{- if and .Values.autoscaling.triton.enabled .Values.triton.gpu.count (not .Values.autoscaling.keda.enabled) }}
{{- fail "autoscaling.triton on GPUs needs autoscaling.keda: the load of their CPUs tells nothing" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.enabled needs ingress.host" }}
{{- end }}
{{- include "anonfaces.checkGateway" . }}
{{- if and .Values.monitoring.serviceMonitor (not $access.openMetrics) (not .Values.monitoring.keySecret) }}
{{- fail "access.openMetrics is false: name with monitoring.keySecret the key that Prometheus shows" }}
{{- end }}
{{- if and .Values.traces.endpoint .Values.networkPolicy.enabled (not .Values.networkPolicy.collector) }}
{{- fail "traces.endpoint needs networkPolicy.collector, or nothing would arrive there" }}
{{- end }}
{{- if and .Values.population.enabled (not (and .Values.models.claim .Values.index.maps.keySecret)) }}
{{- fail "population.enabled needs models.claim, which its pods read as well, and index.maps.keySecret, for the map that it writes" }}
{{- end }}
{{- end }}

{{- define "anonfaces.checkGateway" -}}
{{- $gateway := .Values.gateway }}
{{- if $gateway.enabled }}
{{- if not (and $gateway.parents $gateway.host) }}
{{- fail "gateway.enabled needs gateway.parents and gateway.host" }}
{{- end }}
{{- if eq $gateway.host $gateway.grpcHost }}
{{- fail "gateway.grpcHost must differ from gateway.host: a listener accepts routes of one kind for a host" }}
{{- end }}
{{- if and .Values.access.tlsSecret (not $gateway.caConfigMap) }}
{{- fail "the gateway speaks TLS to the service: name with gateway.caConfigMap who signed access.tlsSecret" }}
{{- end }}
{{- if .Values.access.clientCaSecret }}
{{- fail "a Gateway API route shows the service no client certificate: leave access.clientCaSecret out, or take the ingress" }}
{{- end }}
{{- end }}
{{- end }}
