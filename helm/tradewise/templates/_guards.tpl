{{/*
What the schema cannot say. Each message names the value and the remedy; a Secret's message is the one line that makes it.
Nothing here makes a Secret: a value made while rendering would change with every render and lose what it encrypted.
*/}}

{{/* Takes {root, value, set, secret, from}. */}}
{{- define "tradewise.guard.secret" -}}
{{- if not .value -}}
{{- fail (printf "\n\n%s is required and the chart never makes a Secret. Make it once:\n\n  kubectl --namespace %s create secret generic %s %s\n\nand set %s=%s" .set .root.Release.Namespace .secret .from .set .secret) -}}
{{- end -}}
{{- end -}}

{{/* Takes {root, set, secret, role, value, key}. */}}
{{- define "tradewise.guard.databaseSecret" -}}
{{- include "tradewise.guard.secret" (set . "from" (printf "--from-literal=%s='postgresql://%s:PASSWORD@HOST:5432/tradewise'" .key .role)) -}}
{{- end -}}

{{- define "tradewise.guards" -}}
{{- if not .Values.publicUrl -}}
{{- fail "\n\npublicUrl is required: the address people use, such as https://tradewise.example.com" -}}
{{- end -}}
{{- include "tradewise.guards.databases" . -}}
{{- include "tradewise.guard.secret" (dict "root" . "value" .Values.encryption.existingSecret "set" "encryption.existingSecret" "secret" "tradewise-kek" "from" (printf "--from-file=%s=./kek.json" .Values.encryption.key)) -}}
{{- include "tradewise.guards.launcher" . -}}
{{- with .Values.agents.notifier -}}
{{- if .enabled -}}
{{- include "tradewise.guard.secret" (dict "root" $ "value" .smtp.existingSecret "set" "agents.notifier.smtp.existingSecret" "secret" "tradewise-smtp" "from" (printf "--from-literal=%s='smtp://USER:PASSWORD@HOST:587'" .smtp.key)) -}}
{{- end -}}
{{- end -}}
{{- include "tradewise.guards.boundaries" . -}}
{{- with .Values.api.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "\n\napi.autoscaling.minReplicas (%v) is above maxReplicas (%v)" .minReplicas .maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Every part has a login of its own; one that is shared would hand one part the rights of the other. */}}
{{- define "tradewise.guards.databases" -}}
{{- $api := .Values.database.api -}}
{{- include "tradewise.guard.databaseSecret" (dict "root" . "value" $api.existingSecret "key" $api.key "set" "database.api.existingSecret" "secret" "tradewise-db-api" "role" "tradewise_api") -}}
{{- $seen := dict (printf "%s/%s" $api.existingSecret $api.key) "database.api" -}}
{{- $logins := list -}}
{{- if ne .Values.migrations.mode "none" -}}
{{- $logins = append $logins (dict "path" "database.migration" "login" .Values.database.migration "role" "MIGRATOR" "secret" "tradewise-db-migration") -}}
{{- end -}}
{{- range $name, $agent := .Values.agents -}}
{{- if $agent.enabled -}}
{{- $logins = append $logins (dict "path" (printf "agents.%s.database" $name) "login" $agent.database "role" (printf "tradewise_agent_%s" $name) "secret" (printf "tradewise-db-%s" $name)) -}}
{{- end -}}
{{- end -}}
{{- range $logins -}}
{{- include "tradewise.guard.databaseSecret" (dict "root" $ "value" .login.existingSecret "key" .login.key "set" (printf "%s.existingSecret" .path) "secret" .secret "role" .role) -}}
{{- $login := printf "%s/%s" .login.existingSecret .login.key -}}
{{- if hasKey $seen $login -}}
{{- fail (printf "\n\n%s and %s read the same login (%s): each part needs its own database role, or one has the rights of the other" (get $seen $login) .path $login) -}}
{{- end -}}
{{- $_ := set $seen $login .path -}}
{{- end -}}
{{- end -}}

{{- define "tradewise.guards.launcher" -}}
{{- $launcher := .Values.agents.launcher -}}
{{- if $launcher.enabled -}}
{{- if not $launcher.docker.host -}}
{{- fail "\n\nagents.launcher.docker.host is required: the container engine, such as tcp://10.0.0.5:2376 (or set agents.launcher.enabled=false)" -}}
{{- end -}}
{{- if hasPrefix "tcp://" $launcher.docker.host -}}
{{- include "tradewise.guard.secret" (dict "root" . "value" $launcher.docker.existingSecret "set" "agents.launcher.docker.existingSecret" "secret" "tradewise-docker-tls" "from" "--from-file=ca.pem --from-file=cert.pem --from-file=key.pem") -}}
{{- if not $launcher.publishAddress -}}
{{- fail "\n\nagents.launcher.publishAddress is required with a remote engine: its host's private IP address, where bots' ports are published and the poller reaches them" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The API holds no key, no engine and nobody else's login; and no variable is set twice, which server-side apply refuses. */}}
{{- define "tradewise.guards.boundaries" -}}
{{- $foreign := list "TRADEWISE_KEK" "TRADEWISE_KEK_FILE" "TRADEWISE_AGENT_DATABASE_URL" "TRADEWISE_MIGRATION_DATABASE_URL" "TRADEWISE_DOCKER_HOST" "DOCKER_HOST" "TRADEWISE_SMTP_URL" -}}
{{- range include "tradewise.components" . | fromJsonArray -}}
{{- $path := ternary (printf "agents.%s" .name) .name .agent -}}
{{- $seen := dict -}}
{{- range include "tradewise.env.component" (set . "root" $) | fromYamlArray -}}
{{- $_ := set $seen .name "the chart" -}}
{{- end -}}
{{- $agent := .agent -}}
{{- range .values.extraEnv -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "\n\n%s.extraEnv repeats %s, which %s sets already: use the chart's own value for it" $path .name (get $seen .name)) -}}
{{- end -}}
{{- if and (not $agent) (has .name $foreign) -}}
{{- fail (printf "\n\n%s.extraEnv sets %s: the API must not hold it, only agents and the migration do" $path .name) -}}
{{- end -}}
{{- $_ := set $seen .name "extraEnv" -}}
{{- end -}}
{{- if not $agent -}}
{{- range .values.extraVolumes -}}
{{- if eq (dig "secret" "secretName" "" .) $.Values.encryption.existingSecret -}}
{{- fail (printf "\n\n%s.extraVolumes mounts the Secret %s of encryption.existingSecret: the API seals and never opens" $path $.Values.encryption.existingSecret) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
