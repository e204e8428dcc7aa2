{{- define "extauthz.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "extauthz.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Labels that select pods. Input: root, component. */}}
{{- define "extauthz.selector" -}}
app.kubernetes.io/name: extauthz
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "extauthz.labels" -}}
{{ include "extauthz.selector" . }}
app.kubernetes.io/part-of: extauthz
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The text of a setting; numbers of YAML are floats here, and 268435456 must not become 2.68435456e+08. */}}
{{- define "extauthz.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ printf "%.0f" . }}{{- else -}}{{ printf "%g" . }}{{- end -}}
{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* Fails for a text that holds a secret. Input: text, at (its path in the values). */}}
{{- define "extauthz.refuseSecret" -}}
{{- if regexMatch "-----BEGIN [A-Z ]*PRIVATE KEY-----|sak_live_|://[^/\\s:@]*:[^/\\s@]+@|(?i:[?&][^=&\\s]*(?:key|token|secret|password|signature)[^=&\\s]*=[^&\\s])" .text }}
{{- fail (printf "%s: the value holds a secret; put it into a Secret and refer to that" .at) }}
{{- end }}
{{- end -}}

{{/* Settings as entries of `env`. Input: settings, at (the path of the values). */}}
{{- define "extauthz.environment" -}}
{{- $at := .at -}}
{{- range $name, $value := .settings }}
{{- $text := include "extauthz.text" $value }}
{{- include "extauthz.refuseSecret" (dict "text" $text "at" (printf "%s.%s" $at $name)) }}
- name: {{ $name }}
  value: {{ $text | quote }}
{{- end }}
{{- end -}}

{{/* Variables that name mounted files. Input: root, part (values of a component). */}}
{{- define "extauthz.mounted" -}}
{{- range $name, $_ := merge dict .part.files .root.Values.files }}
- name: {{ $name }}
  value: /run/extauthz/files/{{ $name }}
{{- end }}
{{- range $name, $_ := .part.secrets }}
- name: {{ $name }}_FILE
  value: /run/extauthz/files/{{ $name }}
{{- end }}
{{- end -}}

{{/* One volume for all of them, so that a certificate and its key are replaced together. */}}
{{- define "extauthz.sources" -}}
{{- $at := .at -}}
{{- range $name, $file := merge dict .part.files .root.Values.files }}
{{- if $file.configMap }}
- configMap:
    name: {{ $file.configMap }}
    items: [{ key: {{ $file.key | quote }}, path: {{ $name }} }]
{{- else }}
- secret:
    name: {{ $file.secret }}
    items: [{ key: {{ $file.key | quote }}, path: {{ $name }} }]
{{- end }}
{{- end }}
{{- range $name, $secret := .part.secrets }}
- secret:
    name: {{ $secret.name }}
    items: [{ key: {{ $secret.key | quote }}, path: {{ $name }} }]
{{- end }}
{{- end -}}

{{- define "extauthz.policies" -}}
{{- if .Values.policies.configMap -}}{{ .Values.policies.configMap }}
{{- else if .Values.policies.files -}}{{ include "extauthz.name" . }}-policies
{{- end -}}
{{- end -}}

{{/* The environment of a container. Input: root, part, at, own (a text of further entries). */}}
{{- define "extauthz.env" -}}
{{- $settings := merge dict .part.settings .root.Values.settings -}}
{{- if and (include "extauthz.policies" .root) (hasKey $settings "POLICY_SOURCE") -}}
{{- fail (printf "%s.settings.POLICY_SOURCE: policies are set, too; unset one of them" .at) -}}
{{- end -}}
{{- include "extauthz.environment" (dict "settings" $settings "at" (printf "%s.settings" .at)) }}
{{- include "extauthz.mounted" . }}
{{- if and (include "extauthz.policies" .root) .reads }}
- name: POLICY_SOURCE
  value: files:/etc/extauthz/policies
{{- end }}
{{- if .part.policyCache }}
- name: POLICY_CACHE_DIR
  value: /var/cache/extauthz
{{- end }}
{{- end -}}

{{- define "extauthz.mounts" -}}
{{- if include "extauthz.sources" . }}
- { name: files, mountPath: /run/extauthz/files, readOnly: true }
{{- end }}
{{- if and (include "extauthz.policies" .root) .reads }}
- { name: policies, mountPath: /etc/extauthz/policies, readOnly: true }
{{- end }}
{{- if .part.policyCache }}
- { name: policy-cache, mountPath: /var/cache/extauthz }
{{- end }}
{{- end -}}

{{- define "extauthz.volumes" -}}
{{- with include "extauthz.sources" . }}
- name: files
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if and (include "extauthz.policies" .root) .reads }}
- name: policies
  configMap: { name: {{ include "extauthz.policies" .root }} }
{{- end }}
{{- if .part.policyCache }}
- name: policy-cache
  emptyDir: { sizeLimit: 1Gi }
{{- end }}
{{- end -}}

{{- define "extauthz.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "extauthz.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* What every pod has. Input: root, name. */}}
{{- define "extauthz.pod" -}}
serviceAccountName: {{ .name }}
automountServiceAccountToken: false
# A Service called `postgres` would set POSTGRES_PORT to `tcp://...`.
enableServiceLinks: false
securityContext:
  {{- include "extauthz.podSecurity" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "extauthz.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- . | nindent 8 }}
{{- end -}}

{{/* Probes of a port. Input: port, failures of readiness, scheme. */}}
{{- define "extauthz.probes" -}}
startupProbe:
  httpGet: { path: /healthz/live, port: {{ .port }}, scheme: {{ .scheme }} }
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /healthz/ready, port: {{ .port }}, scheme: {{ .scheme }} }
  periodSeconds: 2
  failureThreshold: {{ .failures }}
livenessProbe:
  httpGet: { path: /healthz/live, port: {{ .port }}, scheme: {{ .scheme }} }
  periodSeconds: 10
  timeoutSeconds: 3
{{- end -}}

{{- define "extauthz.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  labels:
    {{- include "extauthz.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end -}}

{{/* The container that answers checks, for a pod of this chart or of a chart that depends on it. Input: root. */}}
{{- define "extauthz.sidecarContainer" -}}
{{- $part := .root.Values.sidecar -}}
{{- $in := dict "root" .root "part" $part "at" "sidecar" "reads" true -}}
name: extauthz
image: {{ include "extauthz.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [sidecar]
env:
  - { name: WORKERS, value: "1" }
  # Health and metrics.
  - { name: HOST, value: 0.0.0.0 }
  {{- if eq $part.shape "service" }}
  - { name: GRPC_HOST, value: 0.0.0.0 }
  {{- end }}
  {{- include "extauthz.env" $in | nindent 2 }}
ports:
  {{- if eq $part.shape "service" }}
  - { name: grpc, containerPort: 9191 }
  {{- end }}
  - { name: health, containerPort: 9190 }
{{ include "extauthz.probes" (dict "port" "health" "scheme" "HTTP" "failures" 1) }}
# No CPU limit: throttled checks time out, and a check that times out is a denied request.
resources:
  {{- toYaml $part.resources | nindent 2 }}
securityContext:
  {{- include "extauthz.containerSecurity" . | nindent 2 }}
{{- with include "extauthz.mounts" $in }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The volumes of that container. Input: root. */}}
{{- define "extauthz.sidecarVolumes" -}}
{{- include "extauthz.volumes" (dict "root" .root "part" .root.Values.sidecar "at" "sidecar" "reads" true) -}}
{{- end -}}
