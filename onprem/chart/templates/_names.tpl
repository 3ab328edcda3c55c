{{/* What things are called, and where they are. */}}

{{- define "slipway.name" -}}
{{- if contains "slipway" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-slipway" .Release.Name }}{{ end }}
{{- end }}

{{- define "slipway.namespace" -}}
{{ .Values.namespace | default .Release.Namespace }}
{{- end }}

{{/* Every namespace in which runs live, each once, as a JSON list. */}}
{{- define "slipway.namespaces" -}}
{{- $all := list }}
{{- if .Values.agent.enabled }}{{ $all = append $all (include "slipway.namespace" .) }}{{ end }}
{{- range .Values.additionalTargetNamespaces }}{{ $all = append $all . }}{{ end }}
{{- with .Values.runs.namespace }}{{ $all = append $all . }}{{ end }}
{{- $all | uniq | toJson }}
{{- end }}

{{- define "slipway.buildNamespace" -}}
{{ .Values.build.namespace | default (include "slipway.namespace" .) }}
{{- end }}

{{- define "slipway.buildAccount" -}}
{{ .Values.build.serviceAccount.name | default (printf "%s-build" (include "slipway.name" .)) }}
{{- end }}

{{/* W&B's agent is no Slipway, so its image is not run, whatever registry it was copied to. */}}
{{- define "slipway.image" -}}
{{- if or (not .Values.agent.image) (regexMatch "(^|/)launch-agent(-dev)?([:@]|$)" .Values.agent.image) -}}
ghcr.io/slipway-ml/slipway:{{ .Chart.AppVersion }}
{{- else -}}
{{ .Values.agent.image }}
{{- end }}
{{- end }}

{{/* Not empty where builds' Secret with the key of the storage account is another release's, or nobody's: it is theirs. */}}
{{- define "slipway.azureKeyOfAnother" -}}
{{- with lookup "v1" "Secret" (include "slipway.buildNamespace" .) "azure-storage-access-key" }}
{{- $said := .metadata.annotations | default dict }}
{{- $release := index $said "meta.helm.sh/release-name" | default "" }}
{{- $namespace := index $said "meta.helm.sh/release-namespace" | default "" }}
{{- if not (and (eq $release $.Release.Name) (eq $namespace $.Release.Namespace)) }}yes{{ end }}
{{- end }}
{{- end }}

{{- define "slipway.claim" -}}
{{ .Values.persistence.existingClaim | default (include "slipway.name" .) }}
{{- end }}

{{- define "slipway.labels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "slipway.selector" -}}
app.kubernetes.io/name: slipway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "slipway.forwarderSelector" -}}
app.kubernetes.io/name: slipway-forwarder
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Annotations without those that a values file names and leaves empty, as W&B's own does. */}}
{{- define "slipway.annotations" -}}
{{- $said := dict }}
{{- range $name, $value := . }}
{{- if $value }}{{ $_ := set $said $name (toString $value) }}{{ end }}
{{- end }}
{{- with $said -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
