// Package kubeconfig writes the files by which programs reach the API server.
package kubeconfig

import (
	"encoding/base64"
	"os"

	"sigs.k8s.io/yaml"

	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/pki"
)

const clusterName = "rtc-cluster"

// Write makes a kubeconfig with everything embedded, so that it can be copied. It holds a private
// key: only its owner may read it.
func Write(path, server, caFile, user string, client pki.Pair) error {
	var encoded [3]string
	for index, file := range []string{caFile, client.Cert, client.Key} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		encoded[index] = base64.StdEncoding.EncodeToString(content)
	}
	content, err := render(server, user, encoded[0], encoded[1], encoded[2])
	if err != nil {
		return err
	}
	return config.WriteFile(path, content, 0o600)
}

func render(server, user, ca, certificate, key string) ([]byte, error) {
	type object = map[string]any
	return yaml.Marshal(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": clusterName,
		"clusters": []object{{"name": clusterName, "cluster": object{
			"server": server, "certificate-authority-data": ca,
		}}},
		"users": []object{{"name": user, "user": object{
			"client-certificate-data": certificate, "client-key-data": key,
		}}},
		"contexts": []object{{"name": clusterName, "context": object{
			"cluster": clusterName, "user": user,
		}}},
	})
}
