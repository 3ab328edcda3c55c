{{/*
Every right that Slipway has in a cluster, and nowhere else. docs/in-cluster.md says what each is for.
*/}}

{{/* In each namespace of runs. */}}
{{- define "slipway.rules.runs" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- if not .Values.runs.secret }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- range .Values.customResources }}
- apiGroups: {{ toJson .apiGroups }}
  resources: {{ toJson .resources }}
  verbs: [get, list, watch, create, delete]
{{- end }}
{{- end }}

{{/* In the namespace of builds. */}}
{{- define "slipway.rules.builds" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, create]
{{- end }}

{{/* The forwarder, in each namespace of runs. */}}
{{- define "slipway.rules.forwarder" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- range .Values.customResources }}
- apiGroups: {{ toJson .apiGroups }}
  resources: {{ toJson .resources }}
  verbs: [list, watch]
{{- end }}
{{- end }}

{{/* A Role with some rules, and who has it: a dict of root, name, namespace, account, rules. */}}
{{- define "slipway.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "slipway.labels" .root | nindent 4 }}
rules:
  {{- include .rules .root | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "slipway.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ include "slipway.namespace" .root }}
{{- end }}
