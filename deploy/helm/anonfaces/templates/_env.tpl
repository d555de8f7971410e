{{/* What the detector's first look calculates in, where nobody says it: a GPU gains nothing by int8. */}}
{{- define "anonfaces.precision" -}}
{{- .Values.settings.detector_precision | default (ternary "float32" "int8" (eq .Values.triton.config "gpu")) }}
{{- end }}

{{/* The environment of the service: what the chart decides, and the operator's settings. */}}
{{- define "anonfaces.env" -}}
{{- $own := dict
  "HOME" "/tmp/anonfaces"
  "HOST" "0.0.0.0"
  "PORT" "8080"
  "GRPC_PORT" "8081"
  "INDEX" (printf "/indexes/indexes/%s/%s" .Values.index.name .Values.index.version | trimSuffix "/")
  "ENROLMENT_MAPS" (printf "/indexes/maps/%s" .Values.index.name)
  "TRITON_URL" (printf "%s-triton:8001" (include "anonfaces.name" .))
  "ENROLMENT" (ternary (ternary "require" "auto" .Values.index.maps.require) "off" (ne .Values.index.maps.keySecret ""))
  "DETECTOR_PRECISION" (include "anonfaces.precision" .)
  "OPEN_METRICS" (toString .Values.access.openMetrics)
  "ALLOW_ANONYMOUS" (toString .Values.access.anonymous)
}}
{{- if .Values.index.maps.keySecret }}{{ $_ := set $own "ENROLMENT_KEY" (printf "/secrets/map/%s.key" .Values.index.name) }}{{ end }}
{{- if .Values.access.keysSecret }}{{ $_ := set $own "API_KEYS" "/secrets/keys/keys.json" }}{{ end }}
{{- if .Values.access.tlsSecret }}
{{- $_ := set $own "TLS_CERTIFICATE" "/secrets/tls/tls.crt" }}{{ $_ := set $own "TLS_KEY" "/secrets/tls/tls.key" }}
{{- end }}
{{- if .Values.access.clientCaSecret }}{{ $_ := set $own "TLS_CLIENT_CA" "/secrets/client-ca/ca.crt" }}{{ end }}
{{- if .Values.models.claim }}{{ $_ := set $own "MODEL_REPOSITORY" (include "anonfaces.models" .) }}{{ end }}
{{- if .Values.traces.endpoint }}{{ $_ := set $own "OTLP_ENDPOINT" .Values.traces.endpoint }}{{ end }}
{{- range $name, $value := .Values.settings }}
{{- /* Helm reads whole numbers as floats, and would write large ones with an exponent. */}}
{{- $whole := and (kindIs "float64" $value) (eq (toString (floor $value)) (toString $value)) }}
{{- $_ := set $own (upper $name) (ternary (printf "%.0f" (float64 $value)) (toString $value) $whole) }}
{{- end }}
{{- range $name, $value := $own }}
- {name: ANONFACES_{{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* How the service is asked by what shows a certificate: `anonfaces check`, given the name of a protocol and a port. */}}
{{- define "anonfaces.checkArguments" -}}
{{- $access := .root.Values.access }}
{{- $secure := ternary "s" "" (ne $access.tlsSecret "") }}
- check
- --url={{ .protocol }}{{ $secure }}://{{ include "anonfaces.name" .root }}.{{ .root.Release.Namespace }}.svc:{{ .port }}
- --wait=120
{{- if and $access.tlsSecret $access.caSecret }}
- --ca=/secrets/ca/ca.crt
{{- end }}
{{- if $access.clientCaSecret }}
- --certificate=/secrets/client/tls.crt
- --key=/secrets/client/tls.key
{{- end }}
{{- end }}

{{/* The service's health, over TLS that asks for a certificate: the kubelet has none to show. As the kubelet does, it
     takes whatever certificate its own pod has; `anonfaces check` would ask for a key, and take a second of a processor. */}}
{{- define "anonfaces.askWithCertificate" -}}
exec:
  command:
    - python
    - -c
    - |
      import http.client, ssl, sys
      trust = ssl.create_default_context()
      trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
      trust.load_cert_chain("/secrets/client/tls.crt", "/secrets/client/tls.key")
      service = http.client.HTTPSConnection("127.0.0.1", 8080, timeout=25, context=trust)
      service.request("GET", sys.argv[1])
      sys.exit(service.getresponse().status != 200)
    - {{ . }}
{{- end }}

{{- define "anonfaces.ask" -}}
{{- if .access.clientCaSecret }}
{{- include "anonfaces.askWithCertificate" .path }}
{{- else }}
httpGet: {path: {{ .path }}, port: http, scheme: {{ ternary "HTTPS" "HTTP" (ne .access.tlsSecret "") }}}
{{- end }}
{{- end }}

{{/* Secrets as files, given as a name and a Secret each; what has no Secret is left out. */}}
{{- define "anonfaces.secretMounts" -}}
{{- range $name, $secret := . }}{{ if $secret }}
- {name: {{ $name }}, mountPath: /secrets/{{ $name }}, readOnly: true}
{{- end }}{{ end }}
{{- end }}

{{- define "anonfaces.secretVolumes" -}}
{{- range $name, $secret := . }}{{ if $secret }}
- name: {{ $name }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}{{ end }}
{{- end }}
