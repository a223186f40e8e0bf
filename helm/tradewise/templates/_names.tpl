{{/* Names, labels and the image reference. */}}

{{- define "tradewise.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 42 | trimSuffix "-" -}}
{{- end -}}

{{/* Cut at 42 so that the longest suffix ("-migrate-" and ten hex digits, "-scheduler-metrics") stays within 63. */}}
{{- define "tradewise.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $default := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $default .Values.fullnameOverride | trunc 42 | trimSuffix "-" -}}
{{- end -}}

{{/* The immutable part: nothing that changes with a version may enter a selector. Takes {root, name}. */}}
{{- define "tradewise.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tradewise.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels of an object's own metadata. Takes {root, name}. */}}
{{- define "tradewise.labels" -}}
{{ include "tradewise.selectorLabels" . }}
app.kubernetes.io/part-of: tradewise
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of a pod: the operator's own, then ours, which win, so that a selector always matches. Takes {root, name, values}. */}}
{{- define "tradewise.podLabels" -}}
{{- $ours := include "tradewise.selectorLabels" . | fromYaml -}}
{{- $ours = set $ours "app.kubernetes.io/part-of" "tradewise" -}}
{{- toYaml (mustMergeOverwrite (deepCopy .values.podLabels) $ours) -}}
{{- end -}}

{{- define "tradewise.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- $repository := $image.repository -}}
{{- if $registry -}}{{- $repository = printf "%s/%s" (trimSuffix "/" $registry) $repository -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The host of publicUrl, without a port. */}}
{{- define "tradewise.publicHost" -}}
{{- regexReplaceAll "^https?://([^/:]+).*$" .Values.publicUrl "${1}" -}}
{{- end -}}

{{/* The Host that probes and tests send: kubelets would send the pod's address, which allowed hosts refuse. */}}
{{- define "tradewise.probeHost" -}}
{{- default (include "tradewise.publicHost" .) (first .Values.config.allowedHosts) -}}
{{- end -}}

{{- define "tradewise.serviceAccountName" -}}
{{- $account := .values.serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "tradewise.fullname" .root) .name) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}
