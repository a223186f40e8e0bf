{{/*
The long-running parts, as JSON: [{name, agent, replicas, values}], values being `defaults` with the component's own on top.
Every template that makes one object a component ranges over this list, so a new agent appears everywhere at once.
`replicas` is the most copies there can be.
*/}}
{{- define "tradewise.components" -}}
{{- $found := list -}}
{{- $api := mustMergeOverwrite (deepCopy .Values.defaults) (deepCopy .Values.api) -}}
{{- $most := ternary $api.autoscaling.maxReplicas $api.replicas $api.autoscaling.enabled -}}
{{- $found = append $found (dict "name" "api" "agent" false "replicas" $most "values" $api) -}}
{{- range $name, $own := .Values.agents -}}
{{- if $own.enabled -}}
{{- $values := mustMergeOverwrite (deepCopy $.Values.defaults) (deepCopy $own) -}}
{{- $found = append $found (dict "name" $name "agent" true "replicas" $values.replicas "values" $values) -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* One environment variable from a Secret. Takes {variable, secret: {existingSecret, key}}. */}}
{{- define "tradewise.env.secret" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret.existingSecret }}
      key: {{ .secret.key }}
{{- end -}}

{{/* What every container needs to speak to PostgreSQL. Takes {root, variable, secret}. */}}
{{- define "tradewise.env.database" -}}
{{ include "tradewise.env.secret" . }}
- name: TRADEWISE_LOG_LEVEL
  value: {{ .root.Values.config.logLevel }}
- name: PGSSLMODE
  value: {{ .root.Values.database.sslMode }}
{{- if .root.Values.database.ca.existingSecret }}
- name: PGSSLROOTCERT
  value: /etc/tradewise/database-ca/ca.crt
{{- end }}
{{- end -}}

{{/* The database part of a component's environment. Takes {root, name, agent, values}. */}}
{{- define "tradewise.env.componentDatabase" -}}
{{- if .agent -}}
{{- include "tradewise.env.database" (dict "root" .root "variable" "TRADEWISE_AGENT_DATABASE_URL" "secret" .values.database) -}}
{{- else -}}
{{- include "tradewise.env.database" (dict "root" .root "variable" "TRADEWISE_DATABASE_URL" "secret" .root.Values.database.api) -}}
{{- end -}}
{{- end -}}

{{/* The whole environment of a component's main container, but for extraEnv. Takes {root, name, agent, values}. */}}
{{- define "tradewise.env.component" -}}
{{ include "tradewise.env.componentDatabase" . }}
- name: TRADEWISE_DATABASE_POOL_SIZE
  value: {{ .root.Values.database.poolSize | quote }}
- name: TRADEWISE_METRICS_ADDRESS
  value: 0.0.0.0
- name: TRADEWISE_METRICS_PORT
  value: "9000"
{{- if .agent }}
- name: TRADEWISE_KEY_PROVIDER
  value: file
- name: TRADEWISE_KEK_FILE
  value: /etc/tradewise/kek/kek.json
{{- end }}
{{- with include (printf "tradewise.env.%s" .name) . }}
{{ . }}
{{- end }}
{{- end -}}

{{- define "tradewise.env.api" -}}
{{- $config := .root.Values.config -}}
- name: TRADEWISE_PUBLIC_URL
  value: {{ .root.Values.publicUrl | quote }}
- name: TRADEWISE_ALLOWED_HOSTS
  value: {{ default (list (include "tradewise.publicHost" .root)) $config.allowedHosts | join "," | quote }}
- name: TRADEWISE_REQUIRE_VERIFIED_EMAIL
  value: {{ $config.requireVerifiedEmail | quote }}
{{- if hasPrefix "http://" .root.Values.publicUrl }}
- name: TRADEWISE_SECURE_COOKIES
  value: "false"
{{- end }}
{{- end -}}

{{- define "tradewise.env.launcher" -}}
- name: TRADEWISE_RUNTIME
  value: {{ .values.runtime }}
- name: TRADEWISE_DOCKER_HOST
  value: {{ .values.docker.host | quote }}
{{- if .values.docker.existingSecret }}
- name: DOCKER_TLS_VERIFY
  value: "1"
- name: DOCKER_CERT_PATH
  value: /etc/tradewise/docker
{{- end }}
{{- with .values.publishAddress }}
- name: TRADEWISE_PUBLISH_ADDRESS
  value: {{ . | quote }}
{{- end }}
- name: TRADEWISE_PORT_RANGE
  value: {{ .values.portRange | quote }}
- name: TRADEWISE_IMAGE_PULL
  value: {{ .values.imagePull }}
{{- with .values.allowedImages }}
- name: TRADEWISE_ALLOWED_IMAGES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .values.paperBotImage }}
- name: TRADEWISE_PAPER_BOT_IMAGE
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "tradewise.env.poller" -}}
- name: TRADEWISE_POLL_INTERVAL
  value: {{ .values.pollInterval | quote }}
{{- with .values.egressAllow }}
- name: TRADEWISE_EGRESS_ALLOW
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{- define "tradewise.env.scheduler" -}}{{- end -}}

{{- define "tradewise.env.notifier" -}}
{{ include "tradewise.env.secret" (dict "variable" "TRADEWISE_SMTP_URL" "secret" .values.smtp) }}
- name: TRADEWISE_MAIL_FROM
  value: {{ .values.mailFrom | quote }}
{{- end -}}

{{/* One address as a network: /32, or /128 for IPv6. */}}
{{- define "tradewise.hostNetwork" -}}
{{- printf "%s/%s" . (ternary "128" "32" (contains ":" .)) -}}
{{- end -}}
