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
{{ include "tradewise.env.keys" .root }}
{{- end }}
{{- with include (printf "tradewise.env.%s" .name) . }}
{{ . }}
{{- end }}
{{- end -}}

{{/* Where agents find the key-encryption key. Vault's token is a file in either way, so that a new one takes no restart. */}}
{{- define "tradewise.env.keys" -}}
{{- $encryption := .Values.encryption -}}
- name: TRADEWISE_KEY_PROVIDER
  value: {{ $encryption.provider }}
{{- if eq $encryption.provider "file" }}
- name: TRADEWISE_KEK_FILE
  value: /etc/tradewise/kek/kek.json
{{- else }}
{{- with $encryption.vault }}
- name: TRADEWISE_VAULT_ADDRESS
  value: {{ .address | quote }}
{{- with .namespace }}
- name: TRADEWISE_VAULT_NAMESPACE
  value: {{ . | quote }}
{{- end }}
- name: TRADEWISE_VAULT_TRANSIT_MOUNT
  value: {{ .transitMount | quote }}
- name: TRADEWISE_VAULT_TRANSIT_KEY
  value: {{ .transitKey | quote }}
{{- if .ca.existingSecret }}
- name: TRADEWISE_VAULT_CA_FILE
  value: /etc/tradewise/vault-ca/ca.crt
{{- end }}
- name: TRADEWISE_VAULT_TOKEN_FILE
  value: {{ default "/etc/tradewise/vault-token/token" .tokenFile | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What API and notifier know of the OpenID provider alike. Takes the values of `oidc`. */}}
{{- define "tradewise.env.oidc" -}}
- name: TRADEWISE_OIDC_ISSUER
  value: {{ .issuer | quote }}
- name: TRADEWISE_OIDC_CLIENT_ID
  value: {{ .clientId | quote }}
{{- end -}}

{{- define "tradewise.env.api" -}}
{{- $config := .root.Values.config -}}
{{- $poller := .root.Values.agents.poller -}}
- name: TRADEWISE_PUBLIC_URL
  value: {{ .root.Values.publicUrl | quote }}
- name: TRADEWISE_ALLOWED_HOSTS
  value: {{ default (list (include "tradewise.publicHost" .root)) $config.allowedHosts | join "," | quote }}
- name: TRADEWISE_REQUIRE_VERIFIED_EMAIL
  value: {{ $config.requireVerifiedEmail | quote }}
{{- with $config.trustedProxies }}
- name: TRADEWISE_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
- name: TRADEWISE_SESSION_IDLE
  value: {{ int64 $config.sessionIdle | quote }}
- name: TRADEWISE_SESSION_LIFETIME
  value: {{ int64 $config.sessionLifetime | quote }}
{{- /* What the poller does, the API must know: it refuses addresses and calls readings stale by the same settings. */}}
{{ include "tradewise.env.watching" $poller }}
{{ include "tradewise.env.reading" $poller }}
{{ include "tradewise.env.hosting" .root.Values.hosting | trim }}
{{- if .root.Values.encryption.dataKey.existingSecret }}
- name: TRADEWISE_DATA_KEY_FILE
  value: /etc/tradewise/data-key/data.json
{{- end }}
{{- with .root.Values.oidc }}
{{- if .issuer }}
{{ include "tradewise.env.oidc" . }}
- name: TRADEWISE_OIDC_NAME
  value: {{ .name | quote }}
{{- end }}
{{- end }}
{{- with .root.Values.telegram }}
{{- if .botName }}
- name: TRADEWISE_TELEGRAM_BOT_NAME
  value: {{ .botName | quote }}
{{ include "tradewise.env.secret" (dict "variable" "TRADEWISE_TELEGRAM_LOGIN_KEY" "secret" .loginKey) }}
{{- end }}
{{- end }}
{{- if hasPrefix "http://" .root.Values.publicUrl }}
- name: TRADEWISE_SECURE_COOKIES
  value: "false"
{{- end }}
{{- end -}}

{{/* What API and launcher must know of hosted bots alike. Takes the values of `hosting`. */}}
{{- define "tradewise.env.hosting" -}}
{{- include "tradewise.env.plans" . }}
- name: TRADEWISE_BOT_EGRESS
  value: {{ .egress | quote }}
{{- with .egressAllow }}
- name: TRADEWISE_BOT_EGRESS_ALLOW
  value: {{ join "," . | quote }}
{{- end }}
- name: TRADEWISE_EGRESS_GUARD
  value: {{ .egressGuard | quote }}
{{- end -}}

{{- define "tradewise.env.launcher" -}}
{{ include "tradewise.env.hosting" .root.Values.hosting | trim }}
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
- name: TRADEWISE_IMAGE_DIGESTS
  value: {{ .values.imageDigests }}
- name: TRADEWISE_BOT_SUBNETS
  value: {{ .values.botSubnets | quote }}
{{- with .values.paperBotImage }}
- name: TRADEWISE_PAPER_BOT_IMAGE
  value: {{ . | quote }}
{{- end }}
{{- with .values.freqtradeImage }}
- name: TRADEWISE_FREQTRADE_IMAGE
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What everybody must know of plans alike: the limits of bots, and how often they are looked at. Takes the values of `hosting`. */}}
{{- define "tradewise.env.plans" -}}
{{- with .plans }}
- name: TRADEWISE_PLANS
  value: {{ toJson . | quote }}
{{- end }}
{{- end -}}

{{- define "tradewise.env.poller" -}}
{{ include "tradewise.env.watching" .values }}
{{ include "tradewise.env.reading" .values }}
- name: TRADEWISE_POLL_BUFFER
  value: {{ int64 .values.buffer | quote }}
{{- include "tradewise.env.plans" .root.Values.hosting }}
{{- end -}}

{{/* What API, poller and notifier must know of bots elsewhere alike. Takes the values of `agents.poller`. */}}
{{- define "tradewise.env.watching" -}}
- name: TRADEWISE_POLL_INTERVAL
  value: {{ .pollInterval | quote }}
{{- with .egressAllow }}
- name: TRADEWISE_EGRESS_ALLOW
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{/* What API and poller must know alike, to call a curve interrupted. Takes the values of `agents.poller`. */}}
{{- define "tradewise.env.reading" -}}
- name: TRADEWISE_READING_INTERVAL
  value: {{ .readingInterval | quote }}
{{- end -}}

{{- define "tradewise.env.scheduler" -}}
- name: TRADEWISE_KEY_SUITE
  value: {{ .values.keySuite }}
- name: TRADEWISE_AUDIT_RETENTION_MONTHS
  value: {{ int64 .values.audit.retentionMonths | quote }}
- name: TRADEWISE_AUDIT_CHECKPOINT_INTERVAL
  value: {{ .values.audit.checkpointInterval | quote }}
{{- with .values.history }}
- name: TRADEWISE_SNAPSHOT_RETENTION_MONTHS
  value: {{ int64 .snapshotMonths | quote }}
- name: TRADEWISE_HOURLY_RETENTION_MONTHS
  value: {{ int64 .hourlyMonths | quote }}
- name: TRADEWISE_DAILY_RETENTION_YEARS
  value: {{ int64 .dailyYears | quote }}
{{- end }}
{{- end -}}

{{- define "tradewise.env.notifier" -}}
{{ include "tradewise.env.secret" (dict "variable" "TRADEWISE_SMTP_URL" "secret" .values.smtp) }}
- name: TRADEWISE_MAIL_FROM
  value: {{ .values.mailFrom | quote }}
- name: TRADEWISE_PUBLIC_URL
  value: {{ .root.Values.publicUrl | quote }}
{{- /* What the poller is told: staleness is judged by its intervals, webhooks by its networks. */}}
{{ include "tradewise.env.watching" .root.Values.agents.poller }}
{{- include "tradewise.env.plans" .root.Values.hosting }}
{{- with .root.Values.oidc }}
{{- if .issuer }}
{{ include "tradewise.env.oidc" . }}
{{- if .clientSecret.existingSecret }}
{{ include "tradewise.env.secret" (dict "variable" "TRADEWISE_OIDC_CLIENT_SECRET" "secret" .clientSecret) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One address as a network: /32, or /128 for IPv6. */}}
{{- define "tradewise.hostNetwork" -}}
{{- printf "%s/%s" . (ternary "128" "32" (contains ":" .)) -}}
{{- end -}}
