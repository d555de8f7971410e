{{/* The environment of the service: what the chart decides, and the operator's settings. */}}
{{- define "anonfaces.env" -}}
{{- $own := dict
  "HOME" "/tmp/anonfaces"
  "HOST" "0.0.0.0"
  "PORT" "8080"
  "GRPC_PORT" "8081"
  "INDEX" (printf "/indexes/indexes/%s" .Values.index.name)
  "ENROLMENT_MAPS" (printf "/indexes/maps/%s" .Values.index.name)
  "TRITON_URL" (printf "%s-triton:8001" (include "anonfaces.name" .))
  "ENROLMENT" (ternary (ternary "require" "auto" .Values.index.maps.require) "off" (ne .Values.index.maps.keySecret ""))
  "OPEN_METRICS" (toString .Values.access.openMetrics)
  "ALLOW_ANONYMOUS" (toString .Values.access.anonymous)
}}
{{- if .Values.index.maps.keySecret }}{{ $_ := set $own "ENROLMENT_KEY" (printf "/secrets/map/%s.key" .Values.index.name) }}{{ end }}
{{- if .Values.access.keysSecret }}{{ $_ := set $own "API_KEYS" "/secrets/keys/keys.json" }}{{ end }}
{{- if .Values.access.tlsSecret }}
{{- $_ := set $own "TLS_CERTIFICATE" "/secrets/tls/tls.crt" }}{{ $_ := set $own "TLS_KEY" "/secrets/tls/tls.key" }}
{{- end }}
{{- if .Values.access.clientCaSecret }}{{ $_ := set $own "TLS_CLIENT_CA" "/secrets/client-ca/ca.crt" }}{{ end }}
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
