package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/process"
)

// ErrNotRunning says that no supervisor answers on the socket.
var ErrNotRunning = errors.New("the cluster's supervisor does not run: run `rtc-cluster up`")

// Client asks the supervisor of a cluster.
type Client struct{ http http.Client }

// NewClient makes a client for the supervisor behind a socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{http: http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
		// A stop waits for the component's grace, and then for its end.
		Timeout: 2*stopGrace + 10*time.Second,
	}}
}

// Status gives what the supervisor knows.
func (c *Client) Status(ctx context.Context) (Report, error) {
	var report Report
	body, err := c.do(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return report, err
	}
	return report, json.Unmarshal(body, &report)
}

// Start brings a component up as the spec says.
func (c *Client) Start(ctx context.Context, spec process.Spec) error {
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, "/start", body)
	return err
}

// Resume starts a component again by the spec it had.
func (c *Client) Resume(ctx context.Context, name string) error { return c.act(ctx, "/resume", name) }

// Stop ends a component, and it stays down.
func (c *Client) Stop(ctx context.Context, name string) error { return c.act(ctx, "/stop", name) }

// Kill ends a component by SIGKILL, and it comes back.
func (c *Client) Kill(ctx context.Context, name string) error { return c.act(ctx, "/kill", name) }

// Forget ends a component and drops it; one that does not exist is fine.
func (c *Client) Forget(ctx context.Context, name string) error { return c.act(ctx, "/forget", name) }

// Leave ends the supervisor and leaves the components alone.
func (c *Client) Leave(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodPost, "/leave", nil)
	return err
}

func (c *Client) act(ctx context.Context, path, name string) error {
	_, err := c.do(ctx, http.MethodPost, path+"?name="+url.QueryEscape(name), nil)
	return err
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(content)))
	}
	return content, nil
}

// ProgramID tells two builds of a program apart by size and time of its file.
func ProgramID(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano()), nil
}
