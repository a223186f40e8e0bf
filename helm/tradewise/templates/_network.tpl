{{/* Pieces of the network policies. Each egress definition is a list of rules, empty where a part needs nothing more. */}}

{{/* Every pod may ask DNS; without it nothing else works. */}}
{{- define "tradewise.egress.dns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "tradewise.egress.database" -}}
- ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.databasePort }}}
  {{- with .Values.networkPolicy.database }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The API reaches its database and nothing else: above all no address that a tenant gave. */}}
{{- define "tradewise.egress.api" -}}{{- end -}}

{{- define "tradewise.egress.scheduler" -}}{{- end -}}

{{/* The port of a URL, said or by its scheme. */}}
{{- define "tradewise.urlPort" -}}
{{- $authority := regexReplaceAll "^https?://([^/]*).*$" . "${1}" -}}
{{- regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https://" .)) -}}
{{- end -}}

{{/* Vault, for agents alone. */}}
{{- define "tradewise.egress.vault" -}}
{{- if eq .Values.encryption.provider "vault" -}}
- ports:
    - {protocol: TCP, port: {{ include "tradewise.urlPort" .Values.encryption.vault.address }}}
  {{- with .Values.networkPolicy.vault }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "tradewise.egress.notifier" -}}
- ports:
    - {protocol: TCP, port: {{ .values.smtp.port }}}
  {{- with .root.Values.networkPolicy.relay }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .root.Values.oidc.issuer }}
- ports:
    - {protocol: TCP, port: {{ include "tradewise.urlPort" . }}}
  {{- with $.root.Values.networkPolicy.oidc }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{/* Tenants' webhooks, and Telegram. */}}
{{- include "tradewise.egress.public" . }}
{{- end -}}

{{- define "tradewise.egress.launcher" -}}
{{- with regexFind "^tcp://.*:[0-9]+$" .values.docker.host -}}
- ports:
    - {protocol: TCP, port: {{ regexFind "[0-9]+$" . }}}
  {{- with $.root.Values.networkPolicy.engine }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
What tenants may name: of the internet only what is public, and the private networks that the operator names. Special
ranges are those of the IANA registries for IPv4 and IPv6, metadata services included.
*/}}
{{- define "tradewise.egress.public" -}}
{{- $own := .root.Values.networkPolicy.blockedNetworks -}}
{{- $four := list "0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "168.63.129.16/32" "169.254.0.0/16" "172.16.0.0/12" "192.0.0.0/24" "192.0.2.0/24" "192.88.99.0/24" "192.168.0.0/16" "198.18.0.0/15" "198.51.100.0/24" "203.0.113.0/24" "224.0.0.0/4" "240.0.0.0/4" -}}
{{- $six := list "2001::/32" "2001:db8::/32" "2002::/16" "3fff::/20" -}}
{{- range $own -}}
{{- if contains ":" . -}}{{- $six = append $six . -}}{{- else -}}{{- $four = append $four . -}}{{- end -}}
{{- end -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml $four | nindent 10 }}
    - ipBlock:
        cidr: 2000::/3
        except:
          {{- toYaml $six | nindent 10 }}
  ports:
    - {protocol: TCP, port: 80}
    - {protocol: TCP, port: 443}
    - {protocol: TCP, port: 1024, endPort: 65535}
{{- with .root.Values.agents.poller.egressAllow }}
- to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
{{- end }}
{{- end -}}

{{/* The poller: bots where tenants run them, and hosted ones where the launcher publishes them. */}}
{{- define "tradewise.egress.poller" -}}
{{- include "tradewise.egress.public" . }}
{{- with .root.Values.agents.launcher }}
{{- if and .enabled .publishAddress }}
- to:
    - ipBlock: {cidr: {{ printf "%s/%s" .publishAddress (ternary "128" "32" (contains ":" .publishAddress)) | quote }}}
  ports:
    - {protocol: TCP, port: {{ regexFind "^[0-9]+" .portRange }}, endPort: {{ regexFind "[0-9]+$" .portRange }}}
{{- end }}
{{- end }}
{{- end -}}
