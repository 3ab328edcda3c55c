{{/* What the pods have in common: the restricted profile, the environment, and what is mounted where. */}}

{{- define "slipway.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- with .Values.fsGroup }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}

{{- define "slipway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "slipway.env" -}}
- name: SLIPWAY_RESOURCES
  value: {{ join "," .Values.queueResources | quote }}
- name: SLIPWAY_KUBERNETES_AGENT
  value: {{ .Release.Name | quote }}
- name: SLIPWAY_KUBERNETES_NAMESPACE
  value: {{ .Values.runs.namespace | default (include "slipway.namespace" .) | quote }}
- name: SLIPWAY_KUBERNETES_NAMESPACES
  value: {{ include "slipway.namespaces" . | fromJsonArray | join "," | quote }}
{{- with .Values.runs.secret }}
- name: SLIPWAY_KUBERNETES_SECRET
  value: {{ . | quote }}
{{- end }}
- name: SLIPWAY_BUILD_NAMESPACE
  value: {{ include "slipway.buildNamespace" . | quote }}
- name: SLIPWAY_BUILD_SERVICE_ACCOUNT
  value: {{ include "slipway.buildAccount" . | quote }}
{{- with include "slipway.contexts" . }}
- name: SLIPWAY_BUILD_CONTEXTS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.kanikoDockerConfigSecret }}
- name: SLIPWAY_BUILD_DOCKER_CONFIG
  value: {{ . | quote }}
{{- end }}
{{- with .Values.build.destination }}
- name: SLIPWAY_DESTINATION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.entity }}
- name: SLIPWAY_ENTITY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.baseUrl }}
- name: WANDB_BASE_URL
  value: {{ . | quote }}
{{- end }}
{{- if or .Values.agent.apiKey .Values.agent.useExternalWandbSecret }}
- name: WANDB_API_KEY
  valueFrom:
    secretKeyRef:
      name: wandb-api-key-{{ .Release.Name }}
      key: password
{{- end }}
{{- if .Values.azureStorageAccessKey }}
- name: AZURE_STORAGE_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "slipway.name" . }}-azure
      key: password
{{- end }}
{{- if and .Values.customCABundle.configMap.name .Values.customCABundle.configMap.key }}
{{- range list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "AWS_CA_BUNDLE" }}
- name: {{ . }}
  value: /etc/slipway-ca/ca.crt
{{- end }}
{{- end }}
{{- range .Values.additionalEnvVars }}
- name: {{ .name }}
  value: {{ .value | toString | quote }}
{{- end }}
{{- range .Values.additionalSecretEnvVars }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "slipway.name" $ }}-env
      key: {{ .name }}
{{- end }}
{{- end }}

{{- define "slipway.mounts" -}}
- name: data
  mountPath: /var/lib/slipway
- name: config
  mountPath: /etc/slipway
  readOnly: true
- name: home
  mountPath: /home/slipway
- name: temporary
  mountPath: /tmp
{{- if .Values.gitCreds }}
- name: git
  mountPath: /home/slipway/.git-credentials
  subPath: .git-credentials
  readOnly: true
{{- end }}
{{- range $index, $secret := .Values.sshAuthSecrets }}
- name: ssh-{{ $index }}
  mountPath: /home/slipway/.ssh/id_repo{{ $index }}
  subPath: ssh-privatekey
  readOnly: true
{{- end }}
{{- if .Values.sshAuthSecrets }}
- name: config
  mountPath: /home/slipway/.ssh/config
  subPath: ssh_config
  readOnly: true
{{- end }}
{{- if .Values.sshKnownHosts }}
- name: config
  mountPath: /home/slipway/.ssh/known_hosts
  subPath: known_hosts
  readOnly: true
{{- end }}
{{- if and .Values.customCABundle.configMap.name .Values.customCABundle.configMap.key }}
- name: ca
  mountPath: /etc/slipway-ca
  readOnly: true
{{- end }}
{{- if .Values.kanikoPvcName }}
- name: contexts
  mountPath: /kaniko
{{- end }}
{{- if .Values.kanikoDockerConfigSecret }}
- name: logins
  mountPath: /home/slipway/.docker
  readOnly: true
{{- end }}
{{- end }}

{{- define "slipway.volumes" -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "slipway.claim" . }}
- name: config
  configMap:
    name: {{ include "slipway.name" . }}
- name: home
  emptyDir: {}
- name: temporary
  emptyDir: {}
{{- if .Values.gitCreds }}
- name: git
  secret:
    secretName: {{ include "slipway.name" . }}-git
    defaultMode: 0440
{{- end }}
{{- range $index, $secret := .Values.sshAuthSecrets }}
- name: ssh-{{ $index }}
  secret:
    secretName: {{ $secret.name }}
    defaultMode: 0440
{{- end }}
{{- if and .Values.customCABundle.configMap.name .Values.customCABundle.configMap.key }}
- name: ca
  configMap:
    name: {{ .Values.customCABundle.configMap.name }}
    items:
      - key: {{ .Values.customCABundle.configMap.key }}
        path: ca.crt
{{- end }}
{{- with .Values.kanikoPvcName }}
- name: contexts
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- with .Values.kanikoDockerConfigSecret }}
# Slipway asks the registry whether an image is there. Builds may be in another namespace, and the Secret there alone.
- name: logins
  secret:
    secretName: {{ . }}
    optional: true
    defaultMode: 0440
    items:
      - key: .dockerconfigjson
        path: config.json
{{- end }}
{{- end }}
