{{/* launchConfig and what is made of it. W&B's chart takes it as text only; a mapping is as good. */}}

{{- define "slipway.launchConfig" -}}
{{- if kindIs "map" .Values.launchConfig }}{{ toYaml .Values.launchConfig }}{{ else }}{{ .Values.launchConfig }}{{ end }}
{{- end }}

{{/* It as JSON, and read: {} where there is none. */}}
{{- define "slipway.launchConfigRead" -}}
{{- $read := include "slipway.launchConfig" . | fromYaml }}
{{- with $read.Error }}
{{- fail (printf "launchConfig is no YAML mapping: %s" .) }}
{{- end }}
{{- toJson $read }}
{{- end }}

{{/* The names of its queues, as a JSON list. */}}
{{- define "slipway.launchQueues" -}}
{{- $read := include "slipway.launchConfigRead" . | fromJson }}
{{- $names := list }}
{{- range $read.queues }}{{ $names = append $names (toString .) }}{{ end }}
{{- with $read.queue }}{{ $names = append $names (toString .) }}{{ end }}
{{- uniq $names | toJson }}
{{- end }}

{{/* The arguments of prepare.sh: a config of each queue that has one, so that an import fails of mistakes only. */}}
{{- define "slipway.prepareArgs" -}}
{{- $names := include "slipway.launchQueues" . | fromJsonArray }}
{{- $args := list "/etc/slipway" }}
{{- range $index, $name := keys .Values.queueConfigs | sortAlpha }}
{{- if not (has $name $names) }}
{{- fail (printf "queueConfigs has %q, which is no queue of launchConfig: it has %s" $name (join ", " $names | default "none")) }}
{{- end }}
{{- $pair := printf "%s=/etc/slipway/config-%d.yaml" $name $index }}
{{- $args = concat $args (list "--queue" $name "--queue-config" $pair) }}
{{- end }}
{{- /* The kubelet takes $(NAME) in an argument for a variable. */}}
{{- $args | toJson | replace "$(" "$$(" }}
{{- end }}

{{/* Where build contexts go, in whichever of the ways it is said. */}}
{{- define "slipway.contexts" -}}
{{- $builder := (include "slipway.launchConfigRead" . | fromJson).builder | default dict }}
{{- $claim := empty .Values.kanikoPvcName | ternary "" (printf "claim:%s" (toString .Values.kanikoPvcName)) }}
{{- .Values.build.contexts | default $claim | default (index $builder "build-context-store") | default "" }}
{{- end }}
