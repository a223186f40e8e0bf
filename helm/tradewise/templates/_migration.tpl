{{/*
The Job's whole spec; its hash becomes the Job's name. It names no ServiceAccount of the chart and reads only Secrets made
beforehand: as a pre-install hook it runs before anything else of the chart exists. No TTL: a Job that vanishes by itself
would be made again by tools that compare the cluster with the chart. Takes {root, name, values}.
*/}}
{{- define "tradewise.migration.spec" -}}
backoffLimit: {{ .values.backoffLimit }}
activeDeadlineSeconds: {{ .values.activeDeadlineSeconds }}
template:
  metadata:
    labels:
      {{- include "tradewise.podLabels" . | nindent 6 }}
    {{- with .values.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    # A failed pod stays with its log; the next try is a new pod.
    restartPolicy: Never
    {{- include "tradewise.pod.common" . | nindent 4 }}
    containers:
      - name: migrate
        {{- include "tradewise.container.common" . | nindent 8 }}
        command: [tradewise]
        args: [db, migrate]
        env:
          {{- include "tradewise.env.database" (dict "root" .root "variable" "TRADEWISE_MIGRATION_DATABASE_URL" "secret" .root.Values.database.migration) | nindent 10 }}
        resources:
          {{- toYaml .values.resources | nindent 10 }}
        volumeMounts:
          {{- include "tradewise.mounts.common" . | nindent 10 }}
    volumes:
      {{- include "tradewise.volumes.common" . | nindent 6 }}
{{- end -}}
