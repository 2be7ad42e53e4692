package pki

import (
	"crypto/x509"
	"os"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func issued(t *testing.T, folder string, request Request) *x509.Certificate {
	t.Helper()
	authority, err := OpenAuthority(folder, "test", noon)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue("it", request)
	if err != nil {
		t.Fatal(err)
	}
	certificate, _, err := load(pair)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestACertificateIsKeptWhileItSaysWhatIsAskedForAndMadeAnewOtherwise(t *testing.T) {
	folder := t.TempDir()
	server := Request{CommonName: "node", Hosts: []string{"node", "10.200.0.11", "fd00:200::11"}}
	first := issued(t, folder, server)
	if second := issued(t, folder, server); !second.Equal(first) {
		t.Error("the same request made another certificate")
	}
	server.Hosts[1] = "10.200.0.12"
	if third := issued(t, folder, server); third.Equal(first) {
		t.Error("another address did not make another certificate")
	}
}

func TestAServerCertificateVerifiesForEachOfItsHostsAndNoOther(t *testing.T) {
	folder := t.TempDir()
	certificate := issued(t, folder, Request{CommonName: "api", Hosts: []string{"localhost", "10.96.0.1"}})
	authority, err := OpenAuthority(folder, "test", noon)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.certificate)
	for host, good := range map[string]bool{"localhost": true, "10.96.0.1": true, "10.96.0.2": false} {
		_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: noon})
		if (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestAClientCertificateIsNoServers(t *testing.T) {
	certificate := issued(t, t.TempDir(), Request{CommonName: "admin", Organizations: []string{"system:masters"}})
	for _, usage := range certificate.ExtKeyUsage {
		if usage == x509.ExtKeyUsageServerAuth {
			t.Error("it may serve")
		}
	}
}

func TestKeysAreReadableByTheirOwnerOnly(t *testing.T) {
	folder := t.TempDir()
	issued(t, folder, Request{CommonName: "x"})
	private, _, err := OpenSigningKey(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder + "/ca.key", folder + "/it.key", private} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
