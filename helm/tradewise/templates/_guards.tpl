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
{{- include "tradewise.guards.keys" . -}}
{{- include "tradewise.guards.launcher" . -}}
{{- with .Values.agents.notifier -}}
{{- if .enabled -}}
{{- include "tradewise.guard.secret" (dict "root" $ "value" .smtp.existingSecret "set" "agents.notifier.smtp.existingSecret" "secret" "tradewise-smtp" "from" (printf "--from-literal=%s='smtp://USER:PASSWORD@HOST:587'" .smtp.key)) -}}
{{- end -}}
{{- end -}}
{{- include "tradewise.guards.signIn" . -}}
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

{{/* One key provider, and all that it needs: settings of the other would be silently without effect. */}}
{{- define "tradewise.guards.keys" -}}
{{- with .Values.encryption -}}
{{- if eq .provider "file" -}}
{{- if .vault.address -}}
{{- fail "\n\nencryption.vault.address is set and encryption.provider is file: set encryption.provider=vault, or take the address away" -}}
{{- end -}}
{{- include "tradewise.guard.secret" (dict "root" $ "value" .existingSecret "set" "encryption.existingSecret" "secret" "tradewise-kek" "from" (printf "--from-file=%s=./kek.json" .key)) -}}
{{- else -}}
{{- if .existingSecret -}}
{{- fail "\n\nencryption.existingSecret is set and encryption.provider is vault: Vault keeps the key-encryption key, and no pod would get that Secret; take it away" -}}
{{- end -}}
{{- if not .vault.address -}}
{{- fail "\n\nencryption.vault.address is required with encryption.provider=vault: Vault's URL, such as https://vault.example.com:8200" -}}
{{- end -}}
{{- if and .vault.token.existingSecret .vault.tokenFile -}}
{{- fail "\n\nencryption.vault.token.existingSecret and encryption.vault.tokenFile are both set: the token comes from one of them" -}}
{{- end -}}
{{- if not .vault.tokenFile -}}
{{- include "tradewise.guard.secret" (dict "root" $ "value" .vault.token.existingSecret "set" "encryption.vault.token.existingSecret" "secret" "tradewise-vault-token" "from" (printf "--from-file=%s=./vault-token (or set encryption.vault.tokenFile, where an injector writes it)" .vault.token.key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ways to sign in that are half configured would answer with an error to the first person who tries. */}}
{{- define "tradewise.guards.signIn" -}}
{{- with .Values.config -}}
{{- if gt (int64 .sessionIdle) (int64 .sessionLifetime) -}}
{{- fail (printf "\n\nconfig.sessionIdle (%d) is above config.sessionLifetime (%d): no session would ever end by idleness" (int64 .sessionIdle) (int64 .sessionLifetime)) -}}
{{- end -}}
{{- range .trustedProxies -}}
{{- if hasSuffix "/0" . -}}
{{- fail (printf "\n\nconfig.trustedProxies holds %s: anybody could claim any address; name the network of your proxy's pods" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.oidc -}}
{{- if and .issuer (not .clientId) -}}
{{- fail "\n\noidc.clientId is required with oidc.issuer: the name under which the provider knows this installation" -}}
{{- end -}}
{{- if and (not .issuer) (or .clientId .clientSecret.existingSecret) -}}
{{- fail "\n\noidc.clientId or oidc.clientSecret is set without oidc.issuer: name the provider, such as https://login.example.com" -}}
{{- end -}}
{{- if and .issuer (not $.Values.agents.notifier.enabled) -}}
{{- fail "\n\noidc.issuer is set and agents.notifier.enabled is false: the notifier redeems the codes, the API reaches no provider" -}}
{{- end -}}
{{- end -}}
{{- with .Values.telegram -}}
{{- if .botName -}}
{{- include "tradewise.guard.secret" (dict "root" $ "value" .loginKey.existingSecret "set" "telegram.loginKey.existingSecret" "secret" "tradewise-telegram" "from" (printf "--from-literal=%s=\"$(printf %%s \"$BOT_TOKEN\" | sha256sum | cut -d ' ' -f 1)\"" .loginKey.key)) -}}
{{- else if .loginKey.existingSecret -}}
{{- fail "\n\ntelegram.loginKey.existingSecret is set without telegram.botName: the widget needs the bot's name" -}}
{{- end -}}
{{- end -}}
{{- end -}}
