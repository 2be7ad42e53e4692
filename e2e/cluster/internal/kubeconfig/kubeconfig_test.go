package kubeconfig

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rtcfleet.dev/e2e/cluster/internal/pki"
)

func TestAKubeconfigHoldsItsCertificatesAndOnlyItsOwnerReadsIt(t *testing.T) {
	folder := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := filepath.Join(folder, "kubeconfig")
	if err := Write(path, "https://10.200.0.1:6443", file("ca"), "admin", pki.Pair{Cert: file("crt"), Key: file("key")}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"ca", "crt", "key"} {
		if !strings.Contains(string(content), base64.StdEncoding.EncodeToString([]byte("content of "+part))) {
			t.Errorf("%s is not embedded", part)
		}
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}
