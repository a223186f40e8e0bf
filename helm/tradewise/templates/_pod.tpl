{{/* What every pod of the chart is made of, so that the restricted profile holds for all of them alike. */}}

{{/* Pod-level settings. Takes {root, values}. */}}
{{- define "tradewise.pod.common" -}}
automountServiceAccountToken: false
# Service links would put TRADEWISE_PORT and the like into the environment, and unknown TRADEWISE_ names stop start-up.
enableServiceLinks: false
securityContext:
  {{- toYaml .values.podSecurityContext | nindent 2 }}
{{- with concat .root.Values.global.imagePullSecrets .root.Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Container-level settings. Takes {root, values}. */}}
{{- define "tradewise.container.common" -}}
image: {{ include "tradewise.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .values.securityContext | nindent 2 }}
{{- end -}}

{{- define "tradewise.mounts.common" -}}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.database.ca.existingSecret }}
- name: database-ca
  mountPath: /etc/tradewise/database-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tradewise.volumes.common" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .values.tmpSizeLimit }}
{{- with .root.Values.database.ca }}
{{- if .existingSecret }}
- name: database-ca
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* One key of a Secret as a read-only file. Takes {volume, secret: {existingSecret, key}, path}. */}}
{{- define "tradewise.volume.secret" -}}
- name: {{ .volume }}
  secret:
    secretName: {{ .secret.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .secret.key }}
        path: {{ .path }}
{{- end -}}

{{/*
The files that one kind of part sees and the other does not, as JSON: [{volume, secret, path}], each mounted below
/etc/tradewise under its volume's name. The API: its data key. Agents: the key-encryption keys, or what leads to Vault.
Takes {root, agent}.
*/}}
{{- define "tradewise.secretFiles" -}}
{{- $found := list -}}
{{- $encryption := .root.Values.encryption -}}
{{- if not .agent -}}
{{- if $encryption.dataKey.existingSecret -}}
{{- $found = append $found (dict "volume" "data-key" "secret" $encryption.dataKey "path" "data.json") -}}
{{- end -}}
{{- else if eq $encryption.provider "file" -}}
{{- $found = append $found (dict "volume" "kek" "secret" (pick $encryption "existingSecret" "key") "path" "kek.json") -}}
{{- else -}}
{{- if $encryption.vault.token.existingSecret -}}
{{- $found = append $found (dict "volume" "vault-token" "secret" $encryption.vault.token "path" "token") -}}
{{- end -}}
{{- if $encryption.vault.ca.existingSecret -}}
{{- $found = append $found (dict "volume" "vault-ca" "secret" $encryption.vault.ca "path" "ca.crt") -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* Mounts of a part's own secrets: its files, and for the launcher its certificate for the engine. Takes {root, agent, values}. */}}
{{- define "tradewise.mounts.secrets" -}}
{{- range include "tradewise.secretFiles" . | fromJsonArray }}
- name: {{ .volume }}
  mountPath: /etc/tradewise/{{ .volume }}
  readOnly: true
{{- end }}
{{- if dig "docker" "existingSecret" "" .values }}
- name: docker-tls
  mountPath: /etc/tradewise/docker
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tradewise.volumes.secrets" -}}
{{- range include "tradewise.secretFiles" . | fromJsonArray }}
{{ include "tradewise.volume.secret" . }}
{{- end }}
{{- with dig "docker" "existingSecret" "" .values }}
- name: docker-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* Waits until the schema is at the image's head, whoever migrates it, so that `--wait`, Argo and Flux cannot deadlock. */}}
{{- define "tradewise.initContainer.schema" -}}
- name: wait-for-schema
  {{- include "tradewise.container.common" . | nindent 2 }}
  command: [tradewise]
  args: [db, check, --wait, {{ .root.Values.schemaWait.seconds | quote }}]
  env:
    {{- include "tradewise.env.componentDatabase" . | nindent 4 }}
  resources:
    {{- toYaml .root.Values.schemaWait.resources | nindent 4 }}
  volumeMounts:
    {{- include "tradewise.mounts.common" . | nindent 4 }}
{{- end -}}

{{- define "tradewise.topologySpread" -}}
{{- $context := . -}}
{{- if .values.topologySpread -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "tradewise.selectorLabels" $context | nindent 6 }}
{{- end }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Probes. Readiness asks whether the process can serve (database included), liveness only whether its event loop turns:
a database that is away must not restart every pod. Takes {root, agent}.
*/}}
{{- define "tradewise.probes" -}}
{{- $context := . -}}
{{- range $probe, $how := dict
    "startupProbe" (dict "path" "/health/live" "periodSeconds" 2 "failureThreshold" 60)
    "readinessProbe" (dict "path" "/health/ready" "periodSeconds" 5 "failureThreshold" 3)
    "livenessProbe" (dict "path" "/health/live" "periodSeconds" 10 "failureThreshold" 6) }}
{{ $probe }}:
  httpGet:
    path: {{ $how.path }}
    port: {{ ternary "metrics" "http" $context.agent }}
    {{- if not $context.agent }}
    httpHeaders:
      - name: Host
        value: {{ include "tradewise.probeHost" $context.root | quote }}
    {{- end }}
  periodSeconds: {{ $how.periodSeconds }}
  timeoutSeconds: 5
  failureThreshold: {{ $how.failureThreshold }}
{{- end }}
{{- end -}}
