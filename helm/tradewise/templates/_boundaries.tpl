{{/*
Who may hold what. The templates hand each part its own secrets only; these guards hold for what an operator adds by the
`extra…` values. tests/helm/test_secrets.py has the same table for what is rendered.
*/}}

{{/* The Secrets that values name, as JSON: [{path, name, key, holders}]. An empty key stands for the whole Secret. */}}
{{- define "tradewise.secrets" -}}
{{- $agents := list -}}
{{- range $name, $agent := .Values.agents -}}{{- if $agent.enabled -}}{{- $agents = append $agents $name -}}{{- end -}}{{- end -}}
{{- $encryption := .Values.encryption -}}
{{- $all := list
    (dict "path" "database.api" "ref" .Values.database.api "holders" (list "api"))
    (dict "path" "database.migration" "ref" .Values.database.migration "holders" list)
    (dict "path" "encryption.existingSecret" "ref" $encryption "holders" $agents)
    (dict "path" "encryption.vault.token" "ref" $encryption.vault.token "holders" $agents)
    (dict "path" "encryption.dataKey" "ref" $encryption.dataKey "holders" (list "api"))
    (dict "path" "oidc.clientSecret" "ref" .Values.oidc.clientSecret "holders" (list "notifier"))
    (dict "path" "telegram.loginKey" "ref" .Values.telegram.loginKey "holders" (list "api")) -}}
{{- range $name := $agents -}}
{{- $agent := get $.Values.agents $name -}}
{{- $all = append $all (dict "path" (printf "agents.%s.database" $name) "ref" $agent.database "holders" (list $name)) -}}
{{- range $part := list "docker" "smtp" -}}
{{- with get $agent $part -}}
{{- $all = append $all (dict "path" (printf "agents.%s.%s" $name $part) "ref" . "holders" (list $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found := list -}}
{{- range $all -}}
{{- if .ref.existingSecret -}}
{{- $found = append $found (dict "path" .path "name" .ref.existingSecret "key" (dig "key" "" .ref) "holders" .holders) -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* The keys of Secrets that a part's `extra…` values refer to, as JSON: [{from, name, key}]. Takes the part's values. */}}
{{- define "tradewise.extraSecrets" -}}
{{- $found := list -}}
{{- $containers := list (dict "from" "extraEnv" "env" .extraEnv) (dict "from" "extraEnvFrom" "envFrom" .extraEnvFrom) -}}
{{- range .initContainers -}}
{{- $containers = append $containers (dict "from" "initContainers" "env" (dig "env" list .) "envFrom" (dig "envFrom" list .)) -}}
{{- end -}}
{{- range $container := $containers -}}
{{- range $container.env -}}
{{- with dig "valueFrom" "secretKeyRef" dict . -}}
{{- $found = append $found (dict "from" $container.from "name" .name "key" .key) -}}
{{- end -}}
{{- end -}}
{{- range $container.envFrom -}}
{{- with dig "secretRef" dict . -}}
{{- $found = append $found (dict "from" $container.from "name" .name "key" "") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .extraVolumes -}}
{{- $sources := list -}}
{{- with dig "secret" dict . -}}{{- $sources = append $sources (set . "name" .secretName) -}}{{- end -}}
{{- range dig "projected" "sources" list . -}}
{{- with dig "secret" dict . -}}{{- $sources = append $sources . -}}{{- end -}}
{{- end -}}
{{- range $source := $sources -}}
{{- range dig "items" (list (dict "key" "")) $source -}}
{{- $found = append $found (dict "from" "extraVolumes" "name" $source.name "key" .key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* Which parts may be given a variable that holds, or leads to, a secret; any other variable is anybody's. */}}
{{- define "tradewise.holders" -}}
{{- $agents := keys .Values.agents -}}
{{- dict
    "TRADEWISE_KEK" $agents "TRADEWISE_KEK_FILE" $agents "TRADEWISE_KEK_PREVIOUS" $agents
    "TRADEWISE_VAULT_TOKEN" $agents "TRADEWISE_VAULT_TOKEN_FILE" $agents
    "TRADEWISE_DATA_KEY" (list "api") "TRADEWISE_DATA_KEY_FILE" (list "api") "TRADEWISE_DATA_KEY_PREVIOUS" (list "api")
    "TRADEWISE_DATABASE_URL" (list "api") "TRADEWISE_AGENT_DATABASE_URL" $agents "TRADEWISE_MIGRATION_DATABASE_URL" list
    "TRADEWISE_DOCKER_HOST" (list "launcher") "DOCKER_HOST" (list "launcher")
    "TRADEWISE_SMTP_URL" (list "notifier") "TRADEWISE_OIDC_CLIENT_SECRET" (list "notifier")
    "TRADEWISE_TELEGRAM_LOGIN_KEY" (list "api") "TRADEWISE_TELEGRAM_BOT_TOKEN" (list "notifier") "TRADEWISE_TELEGRAM_BOT_TOKEN_FILE" (list "notifier")
  | toJson -}}
{{- end -}}

{{/* No two secrets in one place: whoever is given the one would be given the other. */}}
{{- define "tradewise.guards.apart" -}}
{{- $seen := list -}}
{{- range $one := include "tradewise.secrets" . | fromJsonArray -}}
{{- range $seen -}}
{{- if and (eq .name $one.name) (or (not .key) (not $one.key) (eq .key $one.key)) -}}
{{- fail (printf "\n\n%s and %s name the same Secret (%s): each needs one, or a key in it, of its own" .path $one.path .name) -}}
{{- end -}}
{{- end -}}
{{- $seen = append $seen $one -}}
{{- end -}}
{{- end -}}

{{/* Nobody is given another's secret, and no variable is set twice, which server-side apply refuses. */}}
{{- define "tradewise.guards.boundaries" -}}
{{- include "tradewise.guards.apart" . -}}
{{- $secrets := include "tradewise.secrets" . | fromJsonArray -}}
{{- $holders := include "tradewise.holders" . | fromJson -}}
{{- range include "tradewise.components" . | fromJsonArray -}}
{{- $part := .name -}}
{{- $path := ternary (printf "agents.%s" .name) .name .agent -}}
{{- $seen := dict -}}
{{- range include "tradewise.env.component" (set . "root" $) | fromYamlArray -}}
{{- $_ := set $seen .name "the chart" -}}
{{- end -}}
{{- range .values.extraEnv -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "\n\n%s.extraEnv repeats %s, which %s sets already: use the chart's own value for it" $path .name (get $seen .name)) -}}
{{- end -}}
{{- if and (hasKey $holders .name) (not (has $part (get $holders .name))) -}}
{{- fail (printf "\n\n%s.extraEnv sets %s: %s must not hold it, only: %s" $path .name $part (get $holders .name | sortAlpha | join ", " | default "no part of the chart")) -}}
{{- end -}}
{{- $_ := set $seen .name "extraEnv" -}}
{{- end -}}
{{- range $extra := include "tradewise.extraSecrets" .values | fromJsonArray -}}
{{- range $secrets -}}
{{- if and (eq .name $extra.name) (or (not .key) (not $extra.key) (eq .key $extra.key)) (not (has $part .holders)) -}}
{{- fail (printf "\n\n%s.%s reads the Secret %s of %s: %s must not hold it, only: %s" $path $extra.from .name .path $part (.holders | sortAlpha | join ", " | default "the migration")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
