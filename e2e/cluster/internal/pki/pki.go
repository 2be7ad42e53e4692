// Package pki makes the keys and certificates of a cluster: one authority for the API and the
// kubelets, and one for etcd, so that a node's certificate does not open the store.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/config"
)

// The cluster is thrown away long before; nothing renews these certificates.
const validity = 10 * 365 * 24 * time.Hour

// Clocks of the machine may be set back a little after a resume.
const backdated = time.Hour

// Pair is a certificate and its key as files.
type Pair struct{ Cert, Key string }

// Authority signs certificates.
type Authority struct {
	Pair
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	now         time.Time
}

// Request says what a certificate is for.
type Request struct {
	CommonName    string
	Organizations []string
	// Hosts are names and addresses of a server; a certificate without any is a client's only.
	Hosts []string
}

// OpenAuthority reads an authority, or makes it where there is none.
func OpenAuthority(folder, name string, now time.Time) (*Authority, error) {
	pair := pairIn(folder, "ca")
	certificate, key, err := load(pair)
	switch {
	case errors.Is(err, os.ErrNotExist):
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		template := template(now, pkix.Name{CommonName: name})
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
		if certificate, err = sign(pair, template, template, key, key); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("%s: %w: run `rtc-cluster down`, then `up`, to make new ones", folder, err)
	}
	return &Authority{Pair: pair, folder: folder, certificate: certificate, key: key, now: now}, nil
}

// Issue gives the pair of that name, made where it is not there yet or asks for something else.
func (a *Authority) Issue(name string, request Request) (Pair, error) {
	pair := pairIn(a.folder, name)
	template := template(a.now, pkix.Name{CommonName: request.CommonName, Organization: request.Organizations})
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(request.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range request.Hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if existing, _, err := load(pair); err == nil && a.stillGood(existing, template) {
		return pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	_, err = sign(pair, template, a.certificate, key, a.key)
	return pair, err
}

func (a *Authority) stillGood(existing, wanted *x509.Certificate) bool {
	sameAddresses := len(existing.IPAddresses) == len(wanted.IPAddresses)
	for index := 0; sameAddresses && index < len(wanted.IPAddresses); index++ {
		sameAddresses = existing.IPAddresses[index].Equal(wanted.IPAddresses[index])
	}
	return existing.CheckSignatureFrom(a.certificate) == nil &&
		existing.NotAfter.After(a.now) &&
		existing.Subject.String() == wanted.Subject.String() &&
		fmt.Sprint(existing.DNSNames) == fmt.Sprint(wanted.DNSNames) &&
		sameAddresses
}

// OpenSigningKey gives the key that signs service account tokens, and its public half; it makes
// them where there are none.
func OpenSigningKey(folder string) (private, public string, err error) {
	private, public = filepath.Join(folder, "service-account.key"), filepath.Join(folder, "service-account.pub")
	_, missingPrivate := os.Stat(private)
	_, missingPublic := os.Stat(public)
	if missingPrivate == nil && missingPublic == nil {
		return private, public, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	if err := writeKey(private, key); err != nil {
		return "", "", err
	}
	return private, public, writePEM(public, "PUBLIC KEY", der, 0o644)
}

func pairIn(folder, name string) Pair {
	return Pair{Cert: filepath.Join(folder, name+".crt"), Key: filepath.Join(folder, name+".key")}
}

func template(now time.Time, subject pkix.Name) *x509.Certificate {
	return &x509.Certificate{Subject: subject, NotBefore: now.Add(-backdated), NotAfter: now.Add(validity)}
}

func sign(pair Pair, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	// The key first: a pair is complete when its certificate is there.
	if err := writeKey(pair.Key, key); err != nil {
		return nil, err
	}
	if err := writePEM(pair.Cert, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func load(pair Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certificatePEM, err := os.ReadFile(pair.Cert)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(pair.Key)
	if err != nil {
		return nil, nil, err
	}
	certificateBlock, _ := pem.Decode(certificatePEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certificateBlock == nil || keyBlock == nil {
		return nil, nil, fmt.Errorf("%s or its key is not PEM", pair.Cert)
	}
	certificate, err := x509.ParseCertificate(certificateBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", pair.Cert, err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", pair.Key, err)
	}
	return certificate, key, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return config.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
