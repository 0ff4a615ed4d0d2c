{{/* Names. Of two objects of one kind each has a suffix, so that no release's name makes it meet another's. */}}
{{- define "greenlane.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) .Values.fullnameOverride -}}
{{- if gt (len $whole) 40 -}}
{{- printf "%s-%s" ($whole | trunc 31 | trimSuffix "-") (sha256sum $whole | trunc 8) -}}
{{- else -}}
{{- $whole -}}
{{- end -}}
{{- end -}}

{{- define "greenlane.serviceAccountName" -}}
{{- default (ternary (include "greenlane.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What selects the pods of a component: (list . "replica"). Never changes, for selectors cannot. */}}
{{- define "greenlane.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end -}}

{{- define "greenlane.labels" -}}
{{- $root := index . 0 -}}
{{ include "greenlane.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "greenlane.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A duration of greenlane.toml, such as 1m30s, in milliseconds. */}}
{{- define "greenlane.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+$" .) | int64)) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* Seconds that a replica may take to stop: every step of the drain, each of which has its bound, and some more to see it end. */}}
{{- define "greenlane.graceSeconds" -}}
{{- $sum := 0 -}}
{{- range .Values.config.drain -}}
{{- $sum = add $sum (include "greenlane.milliseconds" . | int64) -}}
{{- end -}}
{{- add .Values.preStopSeconds (div (add $sum 999) 1000) 10 -}}
{{- end -}}

{{/* The register, twice while a fresh snapshot takes its place; what is held for terminals; and what all the rest takes. */}}
{{- define "greenlane.memory" -}}
{{- $shipments := default dict .Values.config.shipments -}}
{{- $bytes := add (mul (int64 .Values.enterprises) 400) (default 536870912 $shipments.max_bytes | int64)
  (mul (default 500000 $shipments.max_containers | int64) 128) -}}
{{- default (add 512 (div $bytes 1048576)) (int64 .Values.memoryMiB) -}}Mi
{{- end -}}

{{/* greenlane.toml: what the values say, and above it what the chart decides. */}}
{{- define "greenlane.toml" -}}
{{- $own := dict
  "server" (dict "grpc_addr" (printf "%s:50051" .Values.listen) "http_addr" (printf "%s:8080" .Values.listen)
    "data_dir" "/var/lib/greenlane" "workers" .Values.cores "allow_anonymous_remote" .Values.anonymous
    "allow_plaintext_remote" (and (not .Values.tls.secret) (or .Values.anonymous .Values.plaintext)))
  "draw" (dict "master_secret_file" "/etc/greenlane/draw.secret")
  "upstream" dict "audit" dict "policy" dict "auth" dict "tls" dict "client" dict -}}
{{- with .Values.callers -}}
{{- if or .configMap .secret -}}
{{- $_ := set $own.auth "callers_file" "/etc/greenlane-callers/callers.toml" -}}
{{- end -}}
{{- if .jwksConfigMap -}}
{{- $_ := set $own.auth "jwks_file" "/etc/greenlane-callers/jwks.json" -}}
{{- end -}}
{{- if .jwksCaConfigMap -}}
{{- $_ := set $own.auth "jwks_ca_file" "/etc/greenlane-callers/jwks-ca.crt" -}}
{{- end -}}
{{- end -}}
{{- with .Values.tls -}}
{{- if .secret -}}
{{- $_ := set $own.tls "certificate_file" "/etc/greenlane/tls/tls.crt" -}}
{{- $_ := set $own.tls "key_file" "/etc/greenlane/tls/tls.key" -}}
{{- if ne .clientCertificates "none" -}}
{{- $_ := set $own.tls "client_ca_file" "/etc/greenlane/tls/client-ca.crt" -}}
{{- $_ := set $own.tls "client_certificates" .clientCertificates -}}
{{- if .clientCrlKey -}}
{{- $_ := set $own.tls "client_crl_file" "/etc/greenlane/tls/client-crl.pem" -}}
{{- end -}}
{{- end -}}
{{- if .caKey -}}
{{- $_ := set $own.client "tls_ca_file" "/etc/greenlane/tls/ca.crt" -}}
{{- end -}}
{{- $_ := set $own.client "tls_name" (include "greenlane.tlsName" $) -}}
{{- end -}}
{{- end -}}
{{- if .Values.audit.signingSecret -}}
{{- $_ := set $own.audit "signing_key_file" "/etc/greenlane/signing.key" -}}
{{- end -}}
{{- if not (hasKey (default dict .Values.config.audit) "max_bytes") -}}
{{- $_ := set $own.audit "max_bytes" (div (mul (int64 .Values.volume.gibibytes) 1073741824 6) 10) -}}
{{- end -}}
{{- if .Values.policies.configMap -}}
{{- $_ := set $own.policy "directory" "/etc/greenlane-policies" -}}
{{- end -}}
{{- if ne .Values.store.kind "embedded" -}}
{{- if .Values.store.tlsSecret -}}
{{- range $file, $key := .Values.store.tlsKeys -}}
{{- if $key -}}
{{- $_ := set $own.upstream (printf "tls_%s_file" $file) (printf "/etc/greenlane/store-tls/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.store.passwordSecret.name -}}
{{- if ne .Values.store.kind "postgres" -}}
{{- fail "store.passwordSecret: only with store.kind=postgres; NATS has store.credentialsSecret" -}}
{{- end -}}
{{- $_ := set $own.upstream "password_file" "/etc/greenlane/store.password" -}}
{{- end -}}
{{- if .Values.store.credentialsSecret.name -}}
{{- $_ := set $own.upstream "credentials_file" "/etc/greenlane/nats.creds" -}}
{{- end -}}
{{- end -}}
{{- range $section, $keys := mergeOverwrite (deepCopy .Values.config) $own -}}
{{- if $keys }}
[{{ $section }}]
{{ range $key, $value := $keys -}}
{{ $key }} = {{ if kindIs "string" $value }}{{ $value | toJson }}{{ else if kindIs "bool" $value }}{{ $value }}{{ else }}{{ int64 $value }}{{ end }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The way to who issues keys, where they are fetched. */}}
{{- define "greenlane.issuerEgress" -}}
{{- with dig "auth" "jwks_url" "" .Values.config }}
{{- $port := regexFind "^https://[^/]+" . | regexFind ":[0-9]+$" | trimPrefix ":" | default "443" }}
{{- include "greenlane.egress" (dict "ports" (list $port) "peers" $.Values.callers.issuers) }}
{{- end }}
{{- end }}

{{/* What callers are known by, as parts of a projected volume. */}}
{{- define "greenlane.callerFiles" -}}
{{- with .Values.callers -}}
{{- if or .configMap .secret }}
- {{ ternary "secret" "configMap" (empty .configMap) }}:
    name: {{ default .secret .configMap }}
    items:
      - key: {{ .key }}
        path: callers.toml
{{- end }}
{{- if .jwksConfigMap }}
- configMap:
    name: {{ .jwksConfigMap }}
    items:
      - key: {{ .jwksKey }}
        path: jwks.json
{{- end }}
{{- if .jwksCaConfigMap }}
- configMap:
    name: {{ .jwksCaConfigMap }}
    items:
      - key: {{ .jwksCaKey }}
        path: jwks-ca.crt
{{- end }}
{{- end -}}
{{- end -}}

{{/* Of every pod: nobody's user, who owns the volume and reads secrets by the group. */}}
{{- define "greenlane.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
# Never again after the first time: it would let the group read the keys on the volume, which the program refuses.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "greenlane.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What every pod says about itself. */}}
{{- define "greenlane.pod" -}}
serviceAccountName: {{ include "greenlane.serviceAccountName" . }}
automountServiceAccountToken: false
# A service named greenlane would put GREENLANE_PORT into the environment.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "greenlane.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* Pods of a component on different zones and hosts: (list . "replica"). */}}
{{- define "greenlane.spread" -}}
{{- $root := index . 0 -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ $root.Values.topologySpread }}
  labelSelector:
    matchLabels:
      {{- include "greenlane.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{/* The name that is in the certificate. */}}
{{- define "greenlane.tlsName" -}}
{{- default (printf "%s.%s.svc" (include "greenlane.fullname" .) .Release.Namespace) .Values.tls.name -}}
{{- end -}}

{{/* Files of TLS, as sources of a projected volume. */}}
{{- define "greenlane.tlsFiles" -}}
{{- with .Values.tls }}
{{- if .secret }}
- secret:
    name: {{ .secret }}
    items:
      - key: tls.crt
        path: tls/tls.crt
      - key: tls.key
        path: tls/tls.key
      {{- if .caKey }}
      - key: {{ .caKey }}
        path: tls/ca.crt
      {{- end }}
{{- if ne .clientCertificates "none" }}
- secret:
    name: {{ default .secret .clientSecret }}
    items:
      - key: ca.crt
        path: tls/client-ca.crt
      {{- if .clientCrlKey }}
      - key: {{ .clientCrlKey }}
        path: tls/client-crl.pem
      {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* How a probe asks: the path. */}}
{{- define "greenlane.probe" -}}
{{- $root := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  {{- if $root.Values.tls.secret }}
  scheme: HTTPS
  {{- end }}
{{- end -}}

{{/* Files of the store's TLS and credentials, as sources of a projected volume. */}}
{{- define "greenlane.storeFiles" -}}
{{- if ne .Values.store.kind "embedded" }}
{{- with .Values.store.tlsSecret }}
- secret:
    name: {{ . }}
    items:
      {{- range $file, $key := $.Values.store.tlsKeys }}
      {{- if $key }}
      - key: {{ $key }}
        path: store-tls/{{ $file }}
      {{- end }}
      {{- end }}
{{- end }}
{{- with .Values.store.passwordSecret }}
{{- if .name }}
- secret:
    name: {{ .name }}
    items:
      - key: {{ .key }}
        path: store.password
{{- end }}
{{- end }}
{{- with .Values.store.credentialsSecret }}
{{- if .name }}
- secret:
    name: {{ .name }}
    items:
      - key: {{ .key }}
        path: nats.creds
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A variable whose value is in a Secret: (list "NAME" reference). */}}
{{- define "greenlane.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ (index . 1).name }}
      key: {{ (index . 1).key }}
{{- end -}}

{{/* A volume for what a library needs to put aside. */}}
{{- define "greenlane.tmp" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end -}}
