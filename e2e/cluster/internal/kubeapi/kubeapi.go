// Package kubeapi asks the API server and its neighbours the few things that the CLI wants to know.
package kubeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/pki"
)

// One answer takes milliseconds; a component that is starting may accept and stay silent.
const answerLimit = 3 * time.Second

// Client is an HTTPS client with a client certificate.
type Client struct {
	server string
	http   http.Client
}

// New makes a client for a server whose certificate the authority has signed.
func New(server, caFile string, pair pki.Pair) (*Client, error) {
	content, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(content)
	certificate, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	return newClient(server, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}), nil
}

// NewLocal makes a client for health checks of a program on the loopback address, which signs its
// certificate itself. It sends nothing.
func NewLocal() *Client {
	return newClient("", &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // loopback, and nothing secret is sent
}

func newClient(server string, config *tls.Config) *Client {
	return &Client{server: server, http: http.Client{
		Timeout:   answerLimit,
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
	}}
}

// Get fetches a path, or a whole URL where the client has no server; any status but 200 is an error.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s%s answers %s: %.300s", c.server, path, response.Status, body)
	}
	return body, nil
}

// Node is what the CLI shows of a Node.
type Node struct {
	Ready bool
	// Why is the message of a Ready condition that is not true.
	Why string
	// Heartbeat is when the kubelet last said so, in whole seconds.
	Heartbeat time.Time
}

// Nodes gives all nodes by name.
func (c *Client) Nodes(ctx context.Context) (map[string]Node, error) {
	body, err := c.Get(ctx, "/api/v1/nodes")
	if err != nil {
		return nil, err
	}
	return parseNodes(body)
}

func parseNodes(body []byte) (map[string]Node, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct {
					Type, Status, Message string
					LastHeartbeatTime     time.Time
				}
			}
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	nodes := map[string]Node{}
	for _, item := range list.Items {
		node := Node{Why: "no Ready condition yet"}
		for _, condition := range item.Status.Conditions {
			if condition.Type == "Ready" {
				node = Node{Ready: condition.Status == "True", Why: condition.Message, Heartbeat: condition.LastHeartbeatTime}
			}
		}
		if node.Ready {
			node.Why = ""
		}
		nodes[item.Metadata.Name] = node
	}
	return nodes, nil
}
