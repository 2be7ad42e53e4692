package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/pion/turn/v5"
)

const dialTimeout = 10 * time.Second

// dial gives packets to and from the relay, and for tls the serial number of its certificate.
func dial(task task) (net.PacketConn, string, error) {
	dialer := &net.Dialer{Timeout: dialTimeout}
	switch task.Transport {
	case "udp":
		packets, err := net.ListenPacket("udp", ":0")
		return packets, "", err
	case "tcp":
		stream, err := dialer.Dial("tcp", task.Server)
		if err != nil {
			return nil, "", err
		}
		return turn.NewSTUNConn(stream), "", nil
	case "tls":
		config, err := trusting(task)
		if err != nil {
			return nil, "", err
		}
		stream, err := tls.DialWithDialer(dialer, "tcp", task.Server, config)
		if err != nil {
			return nil, "", err
		}
		return turn.NewSTUNConn(stream), stream.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
	default:
		return nil, "", fmt.Errorf("transport %q: write udp, tcp or tls", task.Transport)
	}
}

func trusting(task task) (*tls.Config, error) {
	text, err := os.ReadFile(task.Authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New(task.Authority + ": no certificate in it")
	}
	return &tls.Config{RootCAs: roots, ServerName: task.Name, MinVersion: tls.VersionTLS12}, nil
}
