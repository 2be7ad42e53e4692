{{/* Name of the operator's objects. */}}
{{- define "rtc-fleet.fullname" -}}
{{- .Values.fullnameOverride | default (printf "%s-operator" .Chart.Name) | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/* What a selector names; cannot change in the life of a Deployment. */}}
{{- define "rtc-fleet.selector" -}}
app.kubernetes.io/name: rtc-fleet
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rtc-fleet.labels" -}}
{{ include "rtc-fleet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rtc-fleet.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "rtc-fleet.fullname" .) -}}
{{- end }}

{{- define "rtc-fleet.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end }}

{{- define "rtc-fleet.mediaNodeImage" -}}
{{- with .Values.mediaNode.image -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* Pod security level "restricted", and no writes to the container's own files. */}}
{{- define "rtc-fleet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "rtc-fleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
